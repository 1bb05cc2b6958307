"""Data and models of other revisions. No torch."""
