"""The machine: devices, memory, and what a training does before it imports Lightning."""
