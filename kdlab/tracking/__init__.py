"""Tracking: the mirror of the records in Weights & Biases, never read back to make a table."""
