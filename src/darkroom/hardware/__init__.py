"""The machine: devices, memory, and what has to happen before torch is imported."""
