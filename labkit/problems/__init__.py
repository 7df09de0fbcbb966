"""Problems: a loss, a start, and what is known of them.

Reading order: problem (the contract, and `from_loss` for a loss of one's own), closure,
quadratic, surfaces, linear, network.
"""

from labkit.problems.linear import LeastSquares, LogisticRegression
from labkit.problems.network import Classification, Regression, digits_network, sine_network
from labkit.problems.problem import GivenLoss, Problem, count, from_loss
from labkit.problems.quadratic import Quadratic, random_axes
from labkit.problems.surfaces import EdgeToy, Surface


__all__ = [
    "Classification",
    "EdgeToy",
    "GivenLoss",
    "LeastSquares",
    "LogisticRegression",
    "Problem",
    "Quadratic",
    "Regression",
    "Surface",
    "count",
    "digits_network",
    "from_loss",
    "random_axes",
    "sine_network",
]
