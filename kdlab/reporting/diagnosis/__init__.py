"""How often a diagnosis is right: the report pages of a study of planted failures."""
