"""Fixtures of these tests."""

from data_fixtures import download, make_pack

__all__ = ["download", "make_pack"]
