"""kdlab's Hydra plugins: the sweeper that checks a whole sweep first, and the search path of the sweep files."""
