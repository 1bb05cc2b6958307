"""Training a network with Lightning. Evaluate and predict import nothing from here, so that they start without Lightning."""
