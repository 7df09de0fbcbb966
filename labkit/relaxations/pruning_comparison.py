"""Ways to cut a network down to some of its units, each with the same number of steps.

    gates       two thirds of the steps with trained gates, a cut to those highest, a third more
    magnitude   two thirds with all units, a cut to the rows of largest norm, a third more
    random      units drawn at the start: a smaller network, trained all the time

The last is the control: what a choice of units is worth, it has to be worth beyond this.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Key

from labkit.errors import unknown
from labkit.relaxations.hidden_units import Units
from labkit.relaxations.trainable_gate import State, TrainableGate


GATES = ("saw-tooth", "straight-through", "real")
WAYS = (*GATES, "magnitude", "random")


@partial(jax.jit, static_argnames=("way", "steps"))
def accuracies(
    method: TrainableGate, keys: Key[Array, " seeds"], way: str, steps: int = 300
) -> Float[Array, " seeds"]:
    """Accuracy on what was held out, with round(budget * units) units left, for each seed."""
    if way not in WAYS:
        raise unknown("way", way, WAYS)
    return jax.vmap(lambda key: _accuracy(method, key, way, steps))(keys)


def _accuracy(method: TrainableGate, key, way: str, steps: int) -> Float[Array, ""]:
    keep = jnp.round(method.budget * method.problem.units)
    # Gates that do not move are what they are at the start.
    fixed = dataclasses.replace(method, kind="straight-through", gate_lr=0.0, start=1.0)
    gated = dataclasses.replace(method, kind=way) if way in GATES else fixed
    state = gated.init(key)
    if way == "random":
        state = state._replace(gate=_highest(jr.uniform(key, state.gate.shape), keep))
    state = jax.lax.fori_loop(0, 2 * steps // 3, lambda _, s: gated.step(s, key), state)
    state = _cut(state, keep, way)
    state = jax.lax.fori_loop(0, steps - 2 * steps // 3, lambda _, s: fixed.step(s, key), state)
    return method.problem.score(state.w, fixed.gates(state.gate))


def _cut(state: State, keep: Array, way: str) -> State:
    """With the gates of `keep` units at 1 and the others at -1."""
    rows, bias = state.w
    scores = state.gate
    if way == "magnitude":
        scores = jnp.linalg.norm(rows, axis=1)
    if way == "real":  # the gate goes over into the weights that leave the unit
        out = jnp.arange(rows.shape[1]) >= rows.shape[1] - bias.size
        scores = jnp.abs(state.gate)
        rows = jnp.where(out[None], rows * state.gate[:, None], rows)
    return state._replace(w=Units(rows, bias), gate=_highest(scores, keep))


def _highest(scores: Float[Array, " units"], keep: Array) -> Float[Array, " units"]:
    rank = jnp.argsort(jnp.argsort(-scores))
    return jnp.where(rank < keep, 1.0, -1.0).astype(scores.dtype)
