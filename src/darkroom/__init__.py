"""Darkroom: what the stage scripts of `src/` are made of."""
