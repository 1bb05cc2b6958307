"""Fixtures: a network that was trained on coloured patches."""

from explanation_fixtures import small_cnn

__all__ = ["small_cnn"]
