"""Models with `init(key) -> params` and `apply(params, x) -> outputs`, both pure.

Reading order: layers, mlp, convolution.  Weights of a dense layer are [inputs, outputs],
of a convolution [height, width, inputs, outputs] (HWIO).
"""

from labkit.models.convolution import ConvNet
from labkit.models.layers import Model
from labkit.models.mlp import MLP


__all__ = ["MLP", "ConvNet", "Model"]
