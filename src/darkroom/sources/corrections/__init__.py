"""Labels that a user has corrected, in the table `download.corrections`: reading it, and applying it to any source."""
