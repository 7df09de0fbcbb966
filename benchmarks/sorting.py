"""Sorting with gradients, forward and backward: ours beside its peers, batch 256.

    .venv/bin/python -m pip install -e '.[bench]'
    .venv/bin/python benchmarks/sorting.py
    .venv/bin/python benchmarks/sorting.py --sizes 16 128 --rounds 3     # to try it

Each side sorts the same 256 rows of n normal numbers and takes the gradient of a fixed linear
function of the result, in single precision.  One core, so that a library with more threads wins
nothing by them.  Times are medians in milliseconds of CPU; what JAX takes to trace and compile
is given apart.  A side that needs more than three seconds is run once, and no more at larger n.

    network     bitonic, Cauchy swaps, values only.  diffsort always forms the permutation too
    softsort    peers: difftopk, softjax.    neuralsort   the same
    isotonic    by projection on the permutahedron, values and ranks.  torchsort runs PAV in a
                compiled C++ loop; softjax's "smooth" mode takes another regularizer
    sinkhorn    ours with 50 rounds and the implicit derivative; softjax's "ot"
    sparsemax   of rows as scores.  optax has the projection on the simplex

Peers that are not installed are left out.  torchsort compiles on installation; softjax asks for
Python 3.12.
"""

import argparse
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from side_by_side import again, machine, median, spent

from labkit.device import version
from labkit.relaxations.isotonic_sort import isotonic_rank, isotonic_sort
from labkit.relaxations.neural_sort import neural_sort
from labkit.relaxations.sinkhorn_sort import sinkhorn_sort
from labkit.relaxations.soft_sort import soft_sort
from labkit.relaxations.sorting_network import network_sort
from labkit.relaxations.sparsemax import sparsemax


BATCH, TAU = 256, 0.1
PEERS = ("diffsort", "difftopk", "torchsort", "softjax", "optax")
LONG = 3.0  # seconds

Side = Callable[[], Any]


def by_jax(operator: Callable[[Any], Any], x: Any, c: Any) -> Side:
    both = jax.jit(jax.value_and_grad(lambda x, c: (operator(x) * c).sum()))
    return lambda: jax.block_until_ready(both(x, c))


def ours(n: int) -> dict[str, Callable[[Any], Any]]:
    del n
    return {
        "network": lambda x: network_sort(x, TAU),
        "softsort": lambda x: soft_sort(x, TAU),
        "neuralsort": lambda x: neural_sort(x, 1.0),
        "isotonic sort": lambda x: isotonic_sort(x, TAU),
        "isotonic rank": lambda x: isotonic_rank(x, TAU),
        "sinkhorn": lambda x: sinkhorn_sort(x, 1.0, 50),
        "sparsemax": lambda x: sparsemax(x, 1.0),
    }


def softjaxs(n: int) -> dict[str, Callable[[Any], Any]]:
    import softjax

    sort = lambda method: lambda x: softjax.sort(x, axis=-1, method=method, softness=TAU)
    every = {
        "network": sort("sorting_network"),
        "softsort": sort("softsort"),
        "neuralsort": sort("neuralsort"),
        "isotonic sort": sort("fast_soft_sort"),
        "isotonic rank": lambda x: softjax.rank(
            x, axis=-1, method="fast_soft_sort", softness=TAU, descending=False
        ),
        "sinkhorn": sort("ot"),
    }
    return {name: f for name, f in every.items() if name != "sinkhorn" or n <= 32}


def optaxs(n: int) -> dict[str, Callable[[Any], Any]]:
    import optax

    del n
    return {"sparsemax": jax.vmap(lambda x: optax.projections.projection_simplex(x))}


def torchs(peer: str, n: int) -> dict[str, Callable[[Any], Any]]:
    """The operators of a peer, of a tensor [batch, n]."""
    import torch

    torch.set_num_threads(1)
    if peer == "torchsort":
        import torchsort

        return {
            "isotonic sort": lambda x: torchsort.soft_sort(x, regularization_strength=TAU),
            "isotonic rank": lambda x: torchsort.soft_rank(x, regularization_strength=TAU),
        }
    if peer == "diffsort":
        import diffsort

        # Its Cauchy swap is atan(steepness v) / pi + 1 / 2: the same slope at steepness pi / tau.
        net = diffsort.DiffSortNet("bitonic", n, steepness=float(np.pi / TAU))
        return {"network": lambda x: net(x)[0]}
    from difftopk import NeuralSort, SoftSort

    mixed = lambda p: lambda x: torch.bmm(p(x), x[:, :, None])[:, :, 0]
    return {"softsort": mixed(SoftSort(tau=TAU)), "neuralsort": mixed(NeuralSort(tau=1.0))}


def by_torch(operator: Callable[[Any], Any], x: np.ndarray, c: np.ndarray) -> Side:
    import torch

    there, weights = torch.tensor(x, requires_grad=True), torch.tensor(c)

    def both() -> None:
        there.grad = None
        (operator(there) * weights).sum().backward()

    return both


def sides(n: int) -> dict[str, dict[str, Side]]:
    """Each operator's sides by name, ours first."""
    rng = np.random.default_rng(n)
    x, c = rng.normal(size=(2, BATCH, n)).astype(np.float32)
    found: dict[str, dict[str, Side]] = {}
    for peer in ("ours", *PEERS):
        if peer != "ours" and find_spec(peer) is None:
            continue
        ofjax = {"ours": ours, "softjax": softjaxs, "optax": optaxs}.get(peer)
        operators = ofjax(n) if ofjax else torchs(peer, n)
        for name, operator in operators.items():
            make = by_jax if ofjax else by_torch
            given = (jnp.asarray(x), jnp.asarray(c)) if ofjax else (x, c)
            found.setdefault(name, {})[peer] = make(operator, *given)
    return found


def measure(only: list[str], sizes: list[int], rounds: int) -> None:
    print(machine(), ", ".join(f"{p} {version(p)}" for p in (*PEERS, "torch") if find_spec(p)))
    print("\n| operator | n | side | first call s | forward and backward ms | ratio to ours |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    gone: set[tuple[str, str]] = set()
    for n in sizes:
        for name, of in sides(n).items():
            if only and name not in only:
                continue
            first, taken = {}, {}
            for side, work in of.items():
                if (name, side) in gone:
                    continue
                try:
                    first[side], taken[side] = spent(work), []
                except Exception as error:  # a peer that fails is told of, and left out
                    print(f"| {name} | {n} | {side} | {type(error).__name__}: {error!s:.60} | | |")
            long = {side for side in first if first[side].cpu > LONG and spent(of[side]).cpu > LONG}
            for number in range(rounds):
                for side in taken:
                    if side not in long or not number:
                        taken[side].append(spent(of[side]))
            gone |= {(name, side) for side in long if side != "ours"}
            ours_ms = median(taken["ours"]).cpu * 1e3
            for side, values in taken.items():
                ms = median(values).cpu * 1e3
                told = f"{first[side].cpu:.2f} | {ms:.3g} | {ms / ours_ms:.2f}"
                print(f"| {name} | {n} | {side} | {told} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Sorting with gradients: ours and its peers.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 32, 64, 128, 256, 512])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", default=[], help="operators by name")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        measure(asked.only, asked.sizes, asked.rounds)
    else:
        again(__file__, "--here", *sys.argv[1:], cores=1, show=True)


if __name__ == "__main__":
    main()
