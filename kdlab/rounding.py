"""Arithmetic of configs, free of what floating point adds; a config is read without torch."""


def one_minus(value: float) -> float:
    """``1 - value`` rounded at 12 digits: 1 - 0.9 is 0.1, not 0.09999999999999998.

    >>> one_minus(0.9)
    0.1
    """
    return round(1 - value, 12)
