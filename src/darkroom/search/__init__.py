"""Searches and repetitions: every trial an experiment that Git keeps. No torch."""
