"""What other revisions recorded: for `./darkroom compare`, and for `train.init_from`, whose hash is part of the result."""
