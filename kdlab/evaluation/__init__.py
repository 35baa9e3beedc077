"""Evaluation: predict once per set, then derive every number from the kept predictions with pure float64 functions.

``predict`` makes the predictions, ``evaluate.measure`` the numbers, ``cost`` and ``latency`` time the network itself.
What is measured, with unit, direction and equation, stands in ``kdlab.keys``.
"""

# Raised when a definition in this room changes a number: older records are then evaluated again from their weights.
EVALUATION_VERSION = 1

__all__ = ["EVALUATION_VERSION"]
