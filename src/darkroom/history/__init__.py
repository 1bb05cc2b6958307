"""What was tried: the workspace, commits and experiments with their results, as one table. Nothing here imports DVC but its cache."""
