"""What was tried: the workspace, commits and experiments with their results, as one table read from Git."""
