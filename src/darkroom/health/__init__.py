"""Checks of the installation and the workspace for `python src/doctor.py`; nothing that a stage needs."""
