"""The networks that train.model names with the provider `builtin`."""
