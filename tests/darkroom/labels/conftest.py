"""Fixtures for the tests of labels; see tests/data_fixtures.py and tests/labels_fixtures.py."""

from data_fixtures import download, image, make_pack, root
from labels_fixtures import backbone, folder, params

__all__ = ["backbone", "download", "folder", "image", "make_pack", "params", "root"]
