"""Terms that compare what is inside two networks: features of examples, and how a batch of examples lies in them."""
