"""Networks to be trained: from a published model, a file or a library, with a new head, frozen in part, or adapted by LoRA."""
