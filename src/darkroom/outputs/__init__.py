"""Files that a command writes where a person says: an input is never one of them, nor a file of somebody else. No torch."""
