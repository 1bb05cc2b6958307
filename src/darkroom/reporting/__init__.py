"""What several stages write for people to read: tables, sheets of images, cards; and the description of the data."""
