"""The runner: rows in chunks against one by one, and a knob against a closure.

    .venv/bin/python benchmarks/runner.py

Gradient descent on 300 digits, 200 steps, every step seen.  "One by one" calls the same
compiled program for a row at a time.  "A closure" is what a learning rate costs when it is
compiled in: a new program at each turn, as in a plain `jax.jit` over a Python number.
"""

import jax
import jax.numpy as jnp
from side_by_side import interleaved, report

from labkit import Descent, Sgd, run, stream
from labkit.problems import digits_network


STEPS = 200
PROBLEM = digits_network(samples=300)


def ours(lr: float) -> None:
    run(Descent(PROBLEM, Sgd(lr)), STEPS)


def one_by_one(lr: float) -> None:
    for _ in stream(Descent(PROBLEM, Sgd(lr)), STEPS, chunk=1):
        pass


def python_loop(lr: float) -> None:
    """A jitted step, and every loss fetched: what a notebook usually does."""
    w = PROBLEM.start(jax.random.key(0))
    for _ in range(STEPS):
        loss, w = _step(w, lr)
        float(loss)


@jax.jit
def _step(w, lr):
    loss, slope = jax.value_and_grad(PROBLEM.loss)(w)
    return loss, jax.tree.map(lambda a, g: a - lr * g, w, slope)


def closure(lr: float) -> None:
    """The same run with lr compiled in."""

    def one(w, _):
        loss, slope = jax.value_and_grad(PROBLEM.loss)(w)
        return jax.tree.map(lambda a, g: a - lr * g, w, slope), loss

    whole = jax.jit(lambda w: jax.lax.scan(one, w, None, length=STEPS))
    jax.block_until_ready(whole(PROBLEM.start(jax.random.key(0))))


def main() -> None:
    jax.config.update("jax_enable_compilation_cache", False)
    ours(0.1), python_loop(0.1)
    jax.block_until_ready(jnp.zeros(1))
    chunks = {
        "chunks": lambda: ours(0.1),
        "one row at a time": lambda: one_by_one(0.1),
        "a jitted step in a Python loop": lambda: python_loop(0.1),
    }
    report("200 steps, all seen", interleaved(chunks, 11), "chunks")
    rates = iter(0.1 + 0.001 * i for i in range(100))
    turns = {
        "a knob is turned": lambda: ours(next(rates)),
        "a closure is compiled anew": lambda: closure(next(rates)),
    }
    report("200 steps after a turn of lr", interleaved(turns, 5), "a knob is turned")


if __name__ == "__main__":
    main()
