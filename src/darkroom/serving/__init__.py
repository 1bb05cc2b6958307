"""`./darkroom serve`: a model, or two, behind HTTP, and a page for people. One process, one thread that computes."""
