"""An array of images, (n, channels, height, width), mapped to [−1, 1] if its range tells how.

uint8 is mapped by x = u / 127.5 − 1. Other numbers within [−1, 1] stay as they are; those within [0, 1] or [0, 255] are
mapped to [−1, 1] too, with a warning; all others stay, also with a warning.
"""

import warnings

import numpy as np

from anila.data.dataset import BLOCK, Rows, require_finite


def image_array(values: np.ndarray, name: str, labels: list[int] | None, classes: list[str]) -> Rows:
    """Rows of an array (n, channels, height, width), by the rule above for its range."""
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{name}: expected numbers, got {values.dtype}")
    if values.shape[1] not in (1, 3) and values.shape[3] in (1, 3):
        raise ValueError(
            f"{name}: expected images (n, channels, height, width), got {values.shape}, channels last; "
            "save array.transpose(0, 3, 1, 2)"
        )
    if values.dtype == np.uint8 or not values.size:
        return Rows(values, name, None, 127.5, labels, classes)
    require_finite(values, name)
    low, high = observed_range(values)
    half_range = half_range_of(low, high)
    if low < -1 or high > 1 or half_range:
        done = f"mapped to [-1, 1] by x = u / {half_range} - 1" if half_range else "left as they are"
        got = f"{name}: expected values filling [-1, 1], got {low:g} to {high:g}"
        warnings.warn(f"{got}; {done}", stacklevel=3)
    return Rows(values, name, None, half_range, labels, classes)


def half_range_of(low: float, high: float) -> float | None:
    """The h of x = u / h - 1: 0.5 for values within [0, 1], 127.5 for [0, 255], else None.

    >>> half_range_of(0.0, 1.0), half_range_of(0.0, 255.0), half_range_of(-1.0, 1.0)
    (0.5, 127.5, None)
    """
    if low < 0 or high > 255:
        return None
    return 0.5 if high <= 1 else 127.5


def observed_range(values: np.ndarray) -> tuple[float, float]:
    blocks = [values[start : start + BLOCK] for start in range(0, len(values), BLOCK)]
    return float(min(block.min() for block in blocks)), float(max(block.max() for block in blocks))
