"""Skeletons of images and volumes: seconds, and how often the topology is kept.

    .venv/bin/python benchmarks/skeleton.py
    .venv/bin/python benchmarks/skeleton.py --images 4 --sides 32 --cubes 12 --rounds 1

Random blobs, and the torus, the shell, the tree and the balls of `shapes`.  Ours until nothing
changes, as one batch; scikit-image's `skeletonize` (compiled loops, no gradient) one image after
the other, also in three dimensions; the morphological soft skeleton (a gradient, no topology),
as one batch, with as many erosions as the thickest shape needs.  The two with gradients come
once more forward and backward.  Nothing here counts compilation.  "Kept" says of how many images
the Betti numbers are those of the image.
"""

import argparse
from collections.abc import Callable
from importlib.metadata import version

import jax
import jax.random as jr
import numpy as np
from side_by_side import in_turn, machine, median
from skimage.morphology import skeletonize

from labkit.relaxations.morphological_skeleton import morphological_skeleton
from labkit.relaxations.shapes import VOLUMES, betti, blob
from labkit.relaxations.soft_skeleton import skeleton, soft_skeleton


def variants(solids: np.ndarray, dimensions: int) -> dict[str, Callable[[], np.ndarray]]:
    """By name, what gives the skeletons of a batch, or a gradient."""
    grey, erosions = solids.astype(np.float32), solids.shape[-1] // 4
    ours = jax.jit(lambda solid: skeleton(solid, dimensions))
    morphology = jax.jit(lambda image: morphological_skeleton(image, erosions, dimensions))
    soft = lambda image: soft_skeleton(jr.key(0), image, dimensions=dimensions).sum()
    loose = lambda image: morphological_skeleton(image, erosions, dimensions).sum()
    slope_ours, slope_morphology = jax.jit(jax.grad(soft)), jax.jit(jax.grad(loose))
    return {
        "ours": lambda: np.asarray(ours(solids)),
        "scikit-image": lambda: np.stack([skeletonize(solid) for solid in solids]),
        "morphological": lambda: np.asarray(morphology(grey)),
        "ours, and its gradient": lambda: np.asarray(slope_ours(grey)),
        "morphological, and its gradient": lambda: np.asarray(slope_morphology(grey)),
    }


def compare(title: str, solids: np.ndarray, dimensions: int, rounds: int) -> None:
    work = variants(solids, dimensions)
    found = {name: make() for name, make in work.items()}  # compiles
    taken = {name: median(several) for name, several in in_turn(work, rounds).items()}
    print(f"\n{title}, {len(solids)} of them")
    print("\n| | wall ms each | CPU ms each | times ours: wall | CPU | kept |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, t in taken.items():
        base = taken["ours, and its gradient" if "gradient" in name else "ours"]
        each = f"{t.wall * 1e3 / len(solids):.3g} | {t.cpu * 1e3 / len(solids):.3g}"
        times = f"{t.wall / base.wall:.3g} | {t.cpu / base.cpu:.3g}"
        print(f"| {name} | {each} | {times} | {kept(found[name], solids, name)} |")


def kept(found: np.ndarray, solids: np.ndarray, name: str) -> str:
    """How many have the topology of the image; of a gradient nothing is said."""
    if "gradient" in name:
        return ""
    same = sum(betti(f) == betti(s) for f, s in zip(found, solids, strict=True))
    return f"{same} of {len(solids)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--cubes", type=int, nargs="+", default=[24, 32, 48])
    parser.add_argument("--rounds", type=int, default=5, help="medians are taken over these")
    given = parser.parse_args()
    print(f"{machine()}, scikit-image {version('scikit-image')}")
    for n in given.sides:
        images = np.stack([blob(seed, n) for seed in range(given.images)])
        compare(f"Blobs of {n} x {n}", images, 2, given.rounds)
    for n in given.cubes:
        volumes = np.stack([make(n) for make in VOLUMES.values()])
        compare(f"Volumes of {n}^3", volumes, 3, given.rounds)


if __name__ == "__main__":
    main()
