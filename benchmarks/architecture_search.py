"""Queries and seconds until a find is good enough: searches of architectures and their controls.

    .venv/bin/python benchmarks/architecture_search.py
    .venv/bin/python benchmarks/architecture_search.py --landscapes 2 --rounds 1     # to try it

Pairwise landscapes of 6 edges with 5 operations, all 15,625 architectures of which are known.
Every search begins with 30 queries at random and has 300 in all.  What is given, for each: the
median over the landscapes of the queries it takes until the regret, the distance of the best
found to the best there is, is below a share of the deviation of all qualities; on how many of
them it comes there; and the seconds a search of 80 queries takes, compilation not included (an
architecture that is trained takes so much longer that the queries are what counts).

    proxy              fitted and climbed, five queries a round, in turn and jointly
    actor              with a quantile critic, and with a squared error
    random, evolution, gaussian process         the controls; the process is scikit-learn's
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from side_by_side import in_turn, machine, median

from labkit import replace, run
from labkit.record import Record
from labkit.relaxations.pairwise_landscape import PairwiseLandscape
from labkit.relaxations.proxy_search import ProxySearch
from labkit.relaxations.quantile_actor_search import QuantileActorSearch
from labkit.relaxations.search_controls import SearchControl, all_known


FIRST, SHORT = 30, 80
SHARES = (0.3, 0.1)  # of the deviation of all qualities

Search = Callable[[int, int], Record]  # a landscape and a budget


def searches(strength: float) -> dict[str, Search]:
    """The record of each search, row by row, of the landscape and the budget that are asked."""

    def of(method: Any, each: int) -> Search:
        def search(draw: int, budget: int) -> Record:
            own = replace(method, {"draw": draw, "budget": budget})
            return run(own, (budget - FIRST) // each, key=draw)

        return search

    space = PairwiseLandscape(strength=strength)
    return {
        "proxy, in turn": of(ProxySearch(space), 5),
        "proxy, joint": of(ProxySearch(space, order="joint"), 5),
        "actor, quantile": of(QuantileActorSearch(space), 1),
        "actor, squared error": of(QuantileActorSearch(space, error="squared"), 1),
        "evolution": of(SearchControl(space, "evolution", each=1), 1),
        "gaussian process": of(SearchControl(space, "gaussian process", each=5), 5),
        "random": of(SearchControl(space, "random", each=5), 5),
    }


def queries_to(record: Record, regret: float) -> float:
    """How many it took; infinite where the run never came there."""
    there = np.flatnonzero(record["regret"] <= regret)
    return float(record["queries"][there[0]]) if len(there) else np.inf


def compare(strength: float, landscapes: int, budget: int, rounds: int) -> None:
    space = PairwiseLandscape(strength=strength)
    deviations = [
        float(all_known(replace(space, {"draw": i})).quality.std()) for i in range(landscapes)
    ]
    several = searches(strength)
    work = {name: lambda search=search: search(0, SHORT) for name, search in several.items()}
    for once in work.values():
        once()  # compiles
    taken = {name: median(spent) for name, spent in in_turn(work, rounds).items()}
    shares = " | ".join(f"to {share:g} deviations | of {landscapes}" for share in SHARES)
    print(f"\npairs of strength {strength:g}, at most {budget} queries")
    print(f"\n| | {shares} | median rank at {SHORT} | at {budget} | CPU s, {SHORT} queries |")
    print("| --- |" + " ---: |" * (2 * len(SHARES) + 3), flush=True)
    for name, search in several.items():
        records = [search(draw, budget) for draw in range(landscapes)]
        cells = []
        for share in SHARES:
            needed = [queries_to(r, share * d) for r, d in zip(records, deviations, strict=True)]
            middle = np.median(needed)
            cells += [f"{middle:.0f}" if np.isfinite(middle) else f"> {budget}"]
            cells += [str(int(np.isfinite(needed).sum()))]
        at = [record["best_rank"][np.searchsorted(record["queries"], SHORT)] for record in records]
        last = [record.last("best_rank") for record in records]
        cells += [f"{np.median(at):.0f}", f"{np.median(last):.0f}", f"{taken[name].cpu:.3g}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--landscapes", type=int, default=10)
    parser.add_argument("--budget", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3, help="medians of the seconds")
    asked = parser.parse_args()
    print(machine())
    for strength in (0.3, 0.6):
        compare(strength, asked.landscapes, asked.budget, asked.rounds)


if __name__ == "__main__":
    main()
