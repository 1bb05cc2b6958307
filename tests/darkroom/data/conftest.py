"""Fixtures for the tests of data."""

from data_fixtures import download, image, make_pack, root
