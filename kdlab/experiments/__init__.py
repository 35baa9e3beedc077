"""Experiments: one point of a sweep, its teacher, its scratch twin, and what is measured of them."""
