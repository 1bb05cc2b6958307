"""Image classifiers of the library transformers, from the Hugging Face hub or a folder."""
