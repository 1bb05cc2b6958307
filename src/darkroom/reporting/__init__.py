"""What stages write for people to read: tables, sheets of images, the data card, predictions."""
