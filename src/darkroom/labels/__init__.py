"""Whose label is wrong, what to label next, and what more labels would give: what ./darkroom labels does."""
