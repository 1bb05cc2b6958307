"""Hyperparameter search with Optuna; every trial is a DVC experiment. No torch."""
