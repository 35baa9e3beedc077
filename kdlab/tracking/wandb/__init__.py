"""The mirror in Weights & Biases. Only this package imports wandb."""
