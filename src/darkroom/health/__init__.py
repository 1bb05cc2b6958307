"""Checks of the installation and the workspace for `./darkroom doctor`; nothing that a stage needs."""
