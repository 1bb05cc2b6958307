"""Fixtures for the tests of splitting."""

from data_fixtures import download, make_pack, root
