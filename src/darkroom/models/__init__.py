"""Networks, and published models: building, saving and loading them."""
