"""Terms that compare what two networks say: their logits, or the probabilities made of them."""
