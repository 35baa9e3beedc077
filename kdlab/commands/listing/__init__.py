"""``kdlab list``: the runs of a store, or of a study with what is missing, as a table with filters."""
