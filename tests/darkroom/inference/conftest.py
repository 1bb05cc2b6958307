"""Fixtures: encoded images."""

from data_fixtures import image
