"""Whether new photos differ from the images of data/raw: statistics on arrays, and the command around them."""
