"""The contract of a problem, and `from_loss`: anyone's loss as a problem.

    problem = from_loss(loss, params, data)      # loss(params, data) -> one number
    problem = from_loss(loss, params)            # loss(params)       -> one number

`params` may be any pytree, a Flax or an Equinox model included.  Its arrays of floats are
trained.  Everything else in it (whole numbers, random keys, functions, Python numbers) is
held as it is: `start` returns the same structure with None in those places, and `loss`
puts them back.
"""

import warnings
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from labkit.errors import refusal
from labkit.method import pytree, static
from labkit.problems.closure import hidden_arrays


Params = Any  # a pytree of float arrays
Data = Any  # a pytree of arrays


class Problem(Protocol):
    """What a method knows of any problem; a pytree whose data are leaves.

    Where they make sense a problem also has `data` (what stands for `batch` when none is
    given; for samples, a pytree of arrays [samples, ...]), `predict(w, x)`, and
    `example_losses(w, batch=None)`, one number a sample, whose mean is the loss.
    """

    def start(self, key: Key[Array, ""]) -> Params: ...

    def loss(self, w: Params, batch: Data | None = None) -> Float[Array, ""]: ...


def count(problem: Problem) -> int:
    """How many numbers the parameters of a problem are, found without computing any."""
    start = jax.eval_shape(problem.start, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(start))


@pytree
class GivenLoss:
    """A problem made by `from_loss`."""

    params: Params  # where to start, None for what is held
    held: tuple  # one entry a leaf: the arrays that are not trained, None for the others
    data: Data | None
    function: Callable = static()
    fixed: tuple = static()  # one entry a leaf: what is no array, None for the others
    structure: Any = static()  # of the parameters as they were given

    def start(self, key: Key[Array, ""]) -> Params:
        """The parameters as given, whatever the key."""
        del key
        return self.params

    def loss(self, w: Params, batch: Data | None = None) -> Float[Array, ""]:
        """The given loss at `w`, on `batch` in place of the data when there is one."""
        data = self.data if batch is None else batch
        params = self.whole(w)
        return self.function(params) if data is None else self.function(params, data)

    def whole(self, w: Params) -> Any:
        """`w` with what is held put back: the given model, with `w` for its weights."""
        leaves = zip(_leaves(w), self.held, self.fixed, strict=True)
        return self.structure.unflatten([_first(*entry) for entry in leaves])


def from_loss(loss: Callable[..., Float[Array, ""]], params: Any, data: Data = None) -> GivenLoss:
    """The problem of making `loss(params, data)` small, from `params` on.

    Without data, `loss(params)`.  A Python number among the parameters is held, not trained:
    write `jnp.asarray(0.5)`.  The loss is traced once, without compiling.

    Raises ValueError when the loss is not one real number, when no parameter is an array of
    floats, and for what cannot be trained or compiled in.  Warns (UserWarning) of large
    arrays that the loss takes from its surroundings: as data they are arguments, and the
    compiled program neither holds them nor is made again when they change.
    """
    given, structure = jax.tree.flatten(params, is_leaf=_is_none)
    trained = [_strong(leaf) if _is_trained(leaf) else None for leaf in given]
    if all(leaf is None for leaf in trained):
        kinds = sorted({_describe(leaf) for leaf in given if leaf is not None})
        accepted = "a pytree with at least one array of floats to train"
        raise refusal("params", ", ".join(kinds) or params, accepted)
    rest = [leaf if new is None else None for leaf, new in zip(given, trained, strict=True)]
    problem = GivenLoss(
        params=structure.unflatten(trained),
        held=tuple(jnp.asarray(leaf) if _is_array(leaf) else None for leaf in rest),
        data=jax.tree.map(lambda leaf: jnp.asarray(leaf) if _is_array(leaf) else leaf, data),
        function=_hashable(loss),
        fixed=tuple(None if _is_array(leaf) else _compiled_in(leaf) for leaf in rest),
        structure=structure,
    )
    for name, size in hidden_arrays(loss):
        message = f"the loss takes {name} ({size:,} numbers) from its surroundings, which "
        message += "compiles it into every program; pass it as data."
        warnings.warn(message, UserWarning, stacklevel=2)
    _check_value(jax.eval_shape(problem.loss, problem.params))
    return problem


def _check_value(value: Any) -> None:
    accepted = "(), one number: return the mean or the sum"
    if not hasattr(value, "shape"):
        raise refusal("value of the loss", value, "one float, and nothing beside it")
    if value.shape != ():
        raise refusal("shape of the loss", value.shape, accepted)
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise refusal("dtype of the loss", str(value.dtype), "a real float")


def _leaves(tree: Any) -> list:
    """The leaves of `tree`, each None counted as one."""
    return jax.tree.leaves(tree, is_leaf=_is_none)


def _first(*values: Any) -> Any:
    """The first of `values` that is not None."""
    return next((value for value in values if value is not None), None)


def _is_none(value: Any) -> bool:
    return value is None


def _is_array(value: Any) -> bool:
    return isinstance(value, jax.Array | np.ndarray | np.generic)


def _is_trained(leaf: Any) -> bool:
    if not _is_array(leaf):
        return False
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        raise refusal("params", _describe(leaf), "real arrays: a real and an imaginary part")
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _strong(leaf: Any) -> Array:
    """`leaf` on the device, its dtype its own: a weak one would change in the first step."""
    return jax.lax.convert_element_type(leaf, jax.dtypes.canonicalize_dtype(leaf.dtype))


def _describe(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}" if _is_array(leaf) else type(leaf).__name__


def _compiled_in(leaf: Any) -> Hashable:
    """`leaf`, which belongs to the compiled program and so must be hashable."""
    try:
        hash(leaf)
    except TypeError:
        raise refusal("params", leaf, "arrays, and beside them only what is hashable") from None
    return leaf


def _hashable(function: Callable) -> Callable:
    """`function`, or one that calls it: the method of an unhashable object is unhashable."""
    try:
        hash(function)
    except TypeError:
        return lambda *arguments: function(*arguments)
    return function
