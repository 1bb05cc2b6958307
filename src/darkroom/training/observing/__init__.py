"""Observing a training: loggers, progress, system measurements, inspection, provenance."""
