"""Sources of users: functions that return examples, and data sets of torch; no module imports torch."""
