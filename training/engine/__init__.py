"""The training run, on one device or many."""
