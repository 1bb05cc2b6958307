"""Web pages in one file, which open anywhere: no script, no request, every name escaped. No torch."""
