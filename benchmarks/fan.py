"""32 step sizes at once against one after the other.

    .venv/bin/python benchmarks/fan.py
    .venv/bin/python benchmarks/fan.py --steps 20 --rounds 1    # to try it

Gradient descent with its two largest Hessian eigenvalues, at 32 learning rates from 0.05 to
0.4, every fifth step seen, on two tanh networks of digits.  "vmap" batches the steps, "map" runs
the lanes in turn within one program; "one after the other" calls `run` 32 times, which compiles
nothing after the first.  Nothing here counts compilation.
"""

import argparse

import numpy as np
from side_by_side import Spent, in_turn, machine, median

from labkit import fan, run
from labkit.dynamics.edge_of_stability import EdgeOfStability
from labkit.method import replace
from labkit.problems import Problem, count, digits_network
from labkit.rules import Sgd


RATES = np.geomspace(0.05, 0.4, 32)
NETWORKS = {
    "16": digits_network(samples=300, width=16, depth=1),
    "32-32": digits_network(samples=300),
}


def compare(name: str, problem: Problem, steps: int, rounds: int) -> None:
    method = EdgeOfStability(problem, Sgd(0.4))

    def one_after_the_other():
        for lr in RATES:
            run(replace(method, {"lr": lr}), steps, every=5)

    work = {
        "one after the other": one_after_the_other,
        "vmap": lambda: fan(method, steps, over={"lr": RATES}, every=5, how="vmap"),
        "map": lambda: fan(method, steps, over={"lr": RATES}, every=5, how="map"),
    }
    for variant in work.values():
        variant()  # compiles
    taken = {of: median(several) for of, several in in_turn(work, rounds).items()}
    base = taken["one after the other"]
    print(f"\nhidden {name}: {count(problem):,} weights, {steps} steps at {len(RATES)} step sizes")
    print("\n| | wall s | CPU s | times as quick: wall | CPU |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for of, t in taken.items():
        print(row(of, t, base))


def row(name: str, taken: Spent, base: Spent) -> str:
    quicker = f"{base.wall / taken.wall:.3g} | {base.cpu / taken.cpu:.3g}"
    return f"| {name} | {taken.wall:.3g} | {taken.cpu:.3g} | {quicker} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5, help="medians are taken over these")
    given = parser.parse_args()
    print(machine())
    for name, problem in NETWORKS.items():
        compare(name, problem, given.steps, given.rounds)


if __name__ == "__main__":
    main()
