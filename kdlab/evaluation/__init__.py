"""Evaluation: predict once per set, then derive every number from the kept predictions with pure float64 functions.

``keys`` is the one catalogue of what is measured; ``predict`` makes the predictions, ``evaluate.measure`` the numbers,
``cost`` and ``latency`` measure the network itself.
"""

from kdlab.evaluation.keys import CATALOGUE, Key, direction, expected_keys, key_of, table_markdown

# Raised when a definition below changes a number: older records are then evaluated again from their saved weights.
EVALUATION_VERSION = 1

__all__ = ["CATALOGUE", "EVALUATION_VERSION", "Key", "direction", "expected_keys", "key_of", "table_markdown"]
