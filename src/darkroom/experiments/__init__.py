"""What searches and repeated runs share: experiments that run side by side, in clones of the repository."""
