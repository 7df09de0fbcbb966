"""Data: the only place that knows scikit-learn, and it imports it only when asked.

Reading order: tables (real, small, bundled with scikit-learn), photos, synthetic.  Arrays
are NumPy's: float32, labels int32.
"""

from labkit.data import synthetic
from labkit.data.photos import china, flower
from labkit.data.tables import (
    Split,
    breast_cancer,
    diabetes,
    digit_images,
    digits,
    iris,
    linnerud,
    wine,
)


__all__ = [
    "Split",
    "breast_cancer",
    "china",
    "diabetes",
    "digit_images",
    "digits",
    "flower",
    "iris",
    "linnerud",
    "synthetic",
    "wine",
]
