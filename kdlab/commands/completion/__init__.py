"""Shell completion: what may stand at the cursor. A TAB has to feel instant, so nothing here imports torch."""
