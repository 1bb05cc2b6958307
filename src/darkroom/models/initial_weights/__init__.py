"""Where a training takes its first weights from: a published model, a file, or a library."""
