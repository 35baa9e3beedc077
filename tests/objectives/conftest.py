"""Beside this file are the oracles: with it pytest puts the folder on the path, and tests import ``oracles``."""
