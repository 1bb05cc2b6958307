"""What the tests of inference share: encoded images."""

from data_fixtures import image
