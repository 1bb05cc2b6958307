"""How well revisions do beside each other: metrics with noise, images fixed and broken, what was changed, gates. No torch."""
