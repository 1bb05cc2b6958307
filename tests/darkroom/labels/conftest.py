"""Fixtures for the tests of labels."""

from data_fixtures import download, image, make_pack, root
