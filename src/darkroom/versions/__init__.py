"""What revisions recorded: parameters, data, models, metrics. No torch."""
