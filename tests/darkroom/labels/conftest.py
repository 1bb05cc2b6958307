"""What tests of this folder share; see tests/labels_fixtures.py."""

from labels_fixtures import backbone, folder, params

__all__ = ["backbone", "folder", "params"]
