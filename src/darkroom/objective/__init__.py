"""What training minimises, and how: losses, optimizers, schedules, averaging, distillation, mixup."""
