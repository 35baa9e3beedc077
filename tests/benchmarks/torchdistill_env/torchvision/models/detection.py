"""Empty: nothing of it is used."""
