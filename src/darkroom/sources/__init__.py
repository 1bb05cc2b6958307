"""Where images come from: everything that the download stage alone needs."""
