"""Data made to order, whose truth is known.

Every generator takes a seed first, a whole number or a JAX key, and the same seed gives the
same data.  Features are float32 [samples, features]; labels int32 [samples]; numbers to
predict float32 [samples, 1].  Raises ValueError for counts and sizes that make no data.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from labkit.errors import refusal


Seed = int | Key[Array, ""]


class Labelled(NamedTuple):
    """Points and their classes."""

    x: Float[np.ndarray, "samples features"]
    y: Int[np.ndarray, " samples"]


class Measured(NamedTuple):
    """Points and a number measured at each, without its noise: `clean`."""

    x: Float[np.ndarray, "samples features"]
    y: Float[np.ndarray, "samples 1"]
    clean: Float[np.ndarray, "samples 1"]


class Linear(NamedTuple):
    """y = x truth + noise."""

    x: Float[np.ndarray, "samples features"]
    y: Float[np.ndarray, "samples 1"]
    truth: Float[np.ndarray, " features"]


def clusters(
    seed: Seed, samples: int = 200, classes: int = 3, features: int = 2, spread: float = 0.5
) -> Labelled:
    """Gaussian clouds of deviation `spread` around centres drawn from N(0, 2^2)."""
    random = _generator(seed)
    _at_least("classes", classes, 1)
    _at_least("samples", samples, classes)
    _at_least("features", features, 1)
    y = random.permutation(np.arange(samples) % classes)
    centres = 2.0 * random.normal(size=(classes, features))
    return _labelled(centres[y] + spread * random.normal(size=(samples, features)), y)


def moons(seed: Seed, samples: int = 200, noise: float = 0.1) -> Labelled:
    """Two interleaved half circles of radius 1, blurred by N(0, noise^2)."""
    random = _generator(seed)
    _at_least("samples", samples, 2)
    y = random.permutation(np.arange(samples) % 2)
    angle = np.pi * random.uniform(size=samples)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.array([1.0, 0.5]) - upper
    x = np.where(y[:, None] == 0, upper, lower)
    return _labelled(x + noise * random.normal(size=x.shape), y)


def spirals(seed: Seed, samples: int = 200, turns: float = 1.5, noise: float = 0.02) -> Labelled:
    """Two arms that wind `turns` times out to radius 1, half a turn apart."""
    random = _generator(seed)
    _at_least("samples", samples, 2)
    y = random.permutation(np.arange(samples) % 2)
    radius = np.sqrt(random.uniform(size=samples))  # as many points an area outside as inside
    angle = 2.0 * np.pi * turns * radius + np.pi * y
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _labelled(x + noise * random.normal(size=x.shape), y)


def linear(seed: Seed, samples: int = 100, features: int = 5, noise: float = 0.1) -> Linear:
    """Linear regression: x and truth from N(0, 1), noise from N(0, noise^2)."""
    random = _generator(seed)
    _at_least("features", features, 1)
    truth = random.normal(size=features)
    return _linear(random, samples, truth, noise)


def sparse(
    seed: Seed, samples: int = 40, features: int = 100, nonzero: int = 5, noise: float = 0.0
) -> Linear:
    """Linear regression with more unknowns than samples and a truth with few nonzeros.

    The nonzero entries are +1 or -1: which interpolant does a method find?
    """
    random = _generator(seed)
    _at_least("nonzero", nonzero, 1)
    _at_least("features", features, nonzero)
    truth = np.zeros(features)
    chosen = random.choice(features, size=nonzero, replace=False)
    truth[chosen] = random.choice([-1.0, 1.0], size=nonzero)
    return _linear(random, samples, truth, noise)


def chebyshev(seed: Seed, samples: int = 20, degree: int = 3, noise: float = 0.0) -> Measured:
    """The Chebyshev polynomial T_degree(x) = cos(degree arccos x) at even steps on [-1, 1]."""
    random = _generator(seed)
    _at_least("samples", samples, 2)
    _at_least("degree", degree, 0)
    x = np.linspace(-1.0, 1.0, samples)[:, None]
    clean = np.cos(degree * np.arccos(x))
    return Measured(*_float32(x, clean + noise * random.normal(size=x.shape), clean))


def _generator(seed: Seed) -> np.random.Generator:
    """NumPy's, since data are made once and outside compiled code."""
    key = jax.random.key(seed) if isinstance(seed, int | np.integer) else seed
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise refusal(name, value, f"{least} or more")


def _labelled(x: np.ndarray, y: np.ndarray) -> Labelled:
    return Labelled(np.asarray(x, np.float32), np.asarray(y, np.int32))


def _linear(random: np.random.Generator, samples: int, truth: np.ndarray, noise: float) -> Linear:
    _at_least("samples", samples, 1)
    x = random.normal(size=(samples, len(truth)))
    y = x @ truth + noise * random.normal(size=samples)
    return Linear(*_float32(x, y[:, None], truth))


def _float32(*arrays: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(array, np.float32) for array in arrays]
