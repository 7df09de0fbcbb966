"""Small real tables, split once and for all into a training and a test part.

The split depends on `seed` alone; for classification it is stratified.  Features are
standardised with the mean and deviation of the whole training part; so are the targets of a
regression.  The training part comes shuffled, so that `samples=n` takes its first n rows,
and a smaller sample is part of a larger one.

Source: the tables that scikit-learn bundles (no download).
"""

import importlib.util
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from labkit.errors import refusal


NUCLEUS = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity",
    "concave points", "symmetry", "fractal dimension",
)  # fmt: skip


class Split(NamedTuple):
    """A table in two parts, with names for its columns."""

    x: Float[np.ndarray, "samples features"]
    y: np.ndarray  # labels [samples], or numbers [samples, targets]
    x_test: Float[np.ndarray, "tests features"]
    y_test: np.ndarray  # likewise
    features: tuple[str, ...]
    targets: tuple[str, ...]  # the names of the classes, or of the numbers to predict


def digits(samples: int | None = None, *, test: float = 0.2, seed: int = 0) -> Split:
    """1,797 handwritten digits, 8x8 pixels in rows; ten classes."""
    table = _digits_table()
    pixels = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    names = {"feature_names": pixels, "target_names": range(10)}
    whole = {"data": table[:, :-1], "target": table[:, -1].astype(int), **names}
    return _split(whole, samples, test, seed, labels=True)


def digit_images() -> tuple[Float[np.ndarray, "1797 8 8"], Int[np.ndarray, "1797"]]:
    """The digits as pictures, pixels as they are: ink from 0 to 1; and their labels."""
    table = _digits_table()
    images = table[:, :-1].reshape(-1, 8, 8) / 16.0
    return images.astype(np.float32), table[:, -1].astype(np.int32)


@cache
def _digits_table() -> Float[np.ndarray, "1797 65"]:
    # From the file that scikit-learn ships: to import scikit-learn takes seconds, and a class
    # that opens the lab waits for its first picture.
    found = importlib.util.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise ImportError("the digits are those of scikit-learn, which is not installed")
    folder = Path(found.submodule_search_locations[0]) / "datasets" / "data"
    return np.loadtxt(folder / "digits.csv.gz", delimiter=",")


def iris(samples: int | None = None, *, test: float = 0.2, seed: int = 0) -> Split:
    """150 irises, four lengths in cm; three species."""
    from sklearn.datasets import load_iris

    return _split(load_iris(), samples, test, seed, labels=True)


def wine(samples: int | None = None, *, test: float = 0.2, seed: int = 0) -> Split:
    """178 wines, 13 chemical measurements; three growers."""
    from sklearn.datasets import load_wine

    return _split(load_wine(), samples, test, seed, labels=True)


def breast_cancer(samples: int | None = None, *, test: float = 0.2, seed: int = 0) -> Split:
    """569 tumours, 30 measurements of cell nuclei; malignant (0) or benign (1)."""
    # From the file, as the digits: to import scikit-learn takes seconds.
    table = np.loadtxt(_shipped("breast_cancer.csv"), delimiter=",", skiprows=1)
    kinds = [f"mean {name}" for name in NUCLEUS], [f"{name} error" for name in NUCLEUS]
    names = {"feature_names": [*kinds[0], *kinds[1], *(f"worst {name}" for name in NUCLEUS)]}
    names["target_names"] = ["malignant", "benign"]
    whole = {"data": table[:, :-1], "target": table[:, -1].astype(int), **names}
    return _split(whole, samples, test, seed, labels=True)


def diabetes(samples: int | None = None, *, test: float = 0.2, seed: int = 0) -> Split:
    """442 patients, ten measurements; the progression of the disease after a year."""
    from sklearn.datasets import load_diabetes

    # Unscaled: the default is standardised on all rows, the test part included.
    table = load_diabetes(scaled=False)
    return _split(table | {"target_names": ["progression"]}, samples, test, seed, labels=False)


def linnerud(samples: int | None = None, *, test: float = 0.2, seed: int = 0) -> Split:
    """20 men, three exercises; weight, waist and pulse."""
    from sklearn.datasets import load_linnerud

    return _split(load_linnerud(), samples, test, seed, labels=False)


def _shipped(name: str) -> Path:
    """A file of scikit-learn's, found without importing it."""
    found = importlib.util.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise ImportError("the tables are those of scikit-learn, which is not installed")
    return Path(found.submodule_search_locations[0]) / "datasets" / "data" / name


def _split(table: dict, samples: int | None, test: float, seed: int, labels: bool) -> Split:
    """`table` in two parts.

    Raises ValueError: fewer than 2 samples or more than the training part holds, or a test
    share that leaves a part (or, of labels, a class in it) empty.
    """
    x, y = np.asarray(table["data"], float), np.asarray(table["target"])
    if not 0.0 < test < 1.0:
        raise refusal("test", test, "a share between 0 and 1")
    train, held = _parts(y if labels else np.zeros(len(y)), test, seed)
    x, x_test, y, y_test = x[train], x[held], y[train], y[held]
    samples = len(x) if samples is None else samples
    if not 2 <= samples <= len(x):
        raise refusal("samples", samples, f"2 to {len(x)}, the size of the training part")
    x, x_test = standardized(x, x_test)
    if labels:
        y, y_test = np.asarray(y, np.int32), np.asarray(y_test, np.int32)
    else:
        y, y_test = standardized(y.reshape(len(y), -1), y_test.reshape(len(y_test), -1))
    names = (tuple(map(str, table[key])) for key in ("feature_names", "target_names"))
    return Split(x[:samples], y[:samples], x_test, y_test, *names)


def _parts(kinds: np.ndarray, test: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Shuffled rows of the training and of the test part, the same share of each kind."""
    rng = np.random.default_rng(seed)
    train, held = [], []
    for kind in np.unique(kinds):
        rows = rng.permutation(np.flatnonzero(kinds == kind))
        cut = round(test * len(rows))
        if not 0 < cut < len(rows):
            raise refusal("test", test, "a share that leaves some of each class in both parts")
        held.append(rows[:cut])
        train.append(rows[cut:])
    return rng.permutation(np.concatenate(train)), rng.permutation(np.concatenate(held))


def standardized(
    train: Float[np.ndarray, "samples features"], test: Float[np.ndarray, "tests features"]
) -> tuple[Float[np.ndarray, "samples features"], Float[np.ndarray, "tests features"]]:
    """Both parts less the mean, over the deviation, of `train`, as float32.

    A feature that is constant in `train` is only centred: it has no deviation to divide by.
    """
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    constant = np.ptp(train, axis=0) == 0.0  # the deviation of equal numbers may round above 0
    scale = np.where(constant, 1.0, deviation)
    train, test = (train - mean) / scale, (test - mean) / scale
    return np.asarray(train, np.float32), np.asarray(test, np.float32)
