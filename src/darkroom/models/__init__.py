"""Networks, and published models: building, adapting, saving and loading them."""
