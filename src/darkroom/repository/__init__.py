"""What Git and DVC know of the repository, asked of them: where it is, its commits, its experiments, its cache."""
