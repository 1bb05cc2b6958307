"""Loggers of your own, and examples of such."""
