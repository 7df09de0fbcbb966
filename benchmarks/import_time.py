"""What `import labkit` adds to `import jax`.  Reach: 0.3 s.

.venv/bin/python benchmarks/import_time.py
"""

import statistics

from side_by_side import interleaved, python, report


def main() -> None:
    variants = {
        "import jax": lambda: python("import jax, jax.numpy"),
        "import labkit": lambda: python("import labkit"),
        "import widgets": lambda: python("import widgets"),
    }
    interleaved(variants, 1)  # so that all is on the disk's cache
    seconds = interleaved(variants, 9)
    report("Import, a process each", seconds, "import jax", unit=1.0)
    pairs = zip(seconds["import labkit"], seconds["import jax"], strict=True)
    added = statistics.median(ours - jax for ours, jax in pairs)
    print(f"\nimport labkit adds {added:.2f} s to import jax (reach: 0.3 s)")


if __name__ == "__main__":
    main()
