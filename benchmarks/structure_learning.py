"""What a graph without cycles costs a step: the constraint h of NOTEARS, or an orientation.

    .venv/bin/python benchmarks/structure_learning.py
    .venv/bin/python benchmarks/structure_learning.py --sizes 32 64 128 --rounds 3     # to try it

Value and gradient of each, in single precision, over the number d of nodes:

    h                W -> tr exp(W o W) - d, with our exponential and the gradient in closed form
    h, scipy's exp   the same through jax.scipy.linalg.expm and reverse mode
    log-determinant  W -> -log det(I - W o W), reverse mode (W so small that it exists)
    orientation      H, p -> the sum of H o S(p) times a fixed matrix: W for a linear loss

The fourth has to be made at every step of smooth orientation, one of the others at every step of
a method with a constraint.  The loss itself (d^3 from second moments, n d^2 from n rows) is common
to all and left out.  One core; times are medians in milliseconds of CPU over interleaved rounds,
compiling not included.  The exponent is the slope of log time over log d, by least squares over
the sizes of which it is told: small ones measure what a call costs.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from side_by_side import again, in_turn, machine, median

from labkit.relaxations.acyclicity import acyclicity, log_determinant
from labkit.relaxations.smooth_orientation import orientation


def sides(d: int) -> dict:
    """Each side's work at d nodes."""
    rng = np.random.default_rng(d)
    W = jnp.asarray(rng.normal(size=(d, d)) * 0.5 / np.sqrt(d), jnp.float32)
    p, fixed = jnp.asarray(rng.normal(size=d), jnp.float32), W.T
    plain = lambda W: jnp.trace(jax.scipy.linalg.expm(W * W)) - d
    oriented = lambda H, p: (H * orientation(p, 0.1, 0.01) * fixed).sum()
    compiled = {
        "h": (jax.jit(jax.value_and_grad(acyclicity)), (W,)),
        "h, scipy's exp": (jax.jit(jax.value_and_grad(plain)), (W,)),
        "log-determinant": (jax.jit(jax.value_and_grad(lambda W: log_determinant(W * W))), (W,)),
        "orientation": (jax.jit(jax.value_and_grad(oriented, argnums=(0, 1))), (W, p)),
    }
    work = lambda f, at: lambda: jax.block_until_ready(f(*at))
    return {name: work(*pair) for name, pair in compiled.items()}


def repeated(work: Callable[[], object], times: int) -> None:
    for _ in range(times):
        work()


def measure(sizes: list[int], rounds: int, least: int) -> None:
    print(machine())
    spent: dict[str, list[float]] = {}
    for d in sizes:
        works = sides(d)
        for work in works.values():
            work()
        few = max(1, 256 // d)  # calls a round, so that the clock can see them
        several = {name: partial(repeated, work, few) for name, work in works.items()}
        for name, taken in in_turn(several, rounds).items():
            spent.setdefault(name, []).append(median(taken).cpu / few * 1e3)
    print("\n| value and gradient, CPU ms | " + " | ".join(f"d = {d}" for d in sizes), end=" ")
    print("| exponent |\n| --- |" + " ---: |" * (len(sizes) + 1))
    large = np.array(sizes) >= least
    for name, values in spent.items():
        told = " | ".join(f"{value:.3g}" for value in values)
        exponent = "-"
        if large.sum() >= 2:
            slope = np.polyfit(np.log(np.array(sizes)[large]), np.log(np.array(values)[large]), 1)
            exponent = f"{slope[0]:.2f}"
        print(f"| {name} | {told} | {exponent} |")
    print(f"\nexponents over d >= {least}; {rounds} rounds")


def main() -> None:
    parser = argparse.ArgumentParser(description="The cost of having no cycle.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 32, 64, 128, 256, 512, 1024])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--least", type=int, default=128, help="smallest d of the exponents")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        measure(asked.sizes, asked.rounds, asked.least)
    else:
        again(__file__, "--here", *sys.argv[1:], cores=1, show=True)


if __name__ == "__main__":
    main()
