"""Records: what every run measured, who it is, where it lies and which studies it belongs to."""
