"""The page of a study: one file that shows all of its records, without a network."""
