"""The sections of a report, one file each; they draw what `Results` reads."""
