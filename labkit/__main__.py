"""The command line.

    python -m labkit papers [words]             the papers, searched
    python -m labkit figure ID -o file.svg      the figure of a paper's demonstration
    python -m labkit figures FOLDER             every figure, and a sheet of them in each theme
    python -m labkit run ID --set lr=0.3 -o record.npz
    python -m labkit student FOLDER             copies of the notebooks for a class
    python -m labkit doctor                     what is installed, and what is missing

ID is the id of a paper ("F001") or the name of its module ("edge_of_stability").
"""

import argparse
import ast
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labkit.errors import refusal


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; 0 when all went well, 1 with a sentence, 2 for bad usage."""
    options = _parser().parse_args(arguments)
    try:
        return options.do(options) or 0
    except (ValueError, KeyError, OSError, ImportError, AssertionError) as error:
        print(f"labkit: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("labkit: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    summary, _, details = __doc__.partition("\n")
    shape = {"epilog": details, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser("labkit", description=summary, **shape)
    commands = parser.add_subparsers(required=True, metavar="command")

    papers = commands.add_parser("papers", help="list the papers, or those with these words")
    papers.add_argument("words", nargs="*")
    papers.set_defaults(do=_papers)

    figure = commands.add_parser("figure", help="draw the demonstration of a paper")
    figure.add_argument("id")
    figure.add_argument("-o", "--output", required=True, help="a .png, .svg, .pdf or .html file")
    figure.add_argument("--theme", choices=["light", "dark"], default="light")
    figure.set_defaults(do=_figure)

    figures = commands.add_parser("figures", help="draw every paper in both themes")
    figures.add_argument("folder")
    figures.set_defaults(do=_figures)

    run = commands.add_parser("run", help="run the method of a paper, and keep the record")
    run.add_argument("id")
    run.add_argument("--set", nargs="+", action="extend", default=[], metavar="FIELD=VALUE")
    run.add_argument("--steps", type=int, help="how many steps (default: as in the demonstration)")
    run.add_argument("--every", type=int, default=1, help="steps between two rows")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("-o", "--output", help="an .npz file for the record")
    run.set_defaults(do=_run)

    student = commands.add_parser("student", help="write copies of the notebooks for a class")
    student.add_argument("folder")
    student.add_argument("--notebooks", default="notebooks", help="where they are (./notebooks)")
    student.set_defaults(do=_student)

    doctor = commands.add_parser("doctor", help="what is installed, and what is missing")
    doctor.set_defaults(do=_doctor)
    return parser


def _papers(options: argparse.Namespace) -> int:
    from labkit.papers import papers

    found = papers(" ".join(options.words))
    for row in found.values():
        print(f"{row.id}  {row.name}  ({row.year}, {row.kind})")
        print(textwrap.indent(textwrap.fill(f"{row.title}. {row.claim}", 88), "      "))
    if not found:
        raise refusal("words", " ".join(options.words), "words of a title, a module or a claim")
    return 0


def _figure(options: argparse.Namespace) -> None:
    from labkit.papers import paper
    from labkit.render import figure

    module = paper(options.id).load()
    path = _output(options.output, (".png", ".svg", ".pdf", ".html"))
    record = module.demo()
    print(figure(record, module.views, options.theme).save(path))
    print(module.say(record))


def _figures(options: argparse.Namespace) -> None:
    from labkit.papers import papers
    from labkit.render import figure
    from labkit.render.sheet import contact_sheet

    folder = Path(options.folder)
    for theme in ("light", "dark"):
        (folder / theme).mkdir(parents=True, exist_ok=True)
        drawn = []
        for row in papers().values():
            module = row.load()
            path = folder / theme / f"{row.id}_{row.name}.png"
            drawn.append(figure(module.demo(), module.views, theme).save(path))
        print(contact_sheet(drawn, folder / f"{theme}.png"))


def _run(options: argparse.Namespace) -> None:
    from labkit.method import replace
    from labkit.papers import paper
    from labkit.run import Run

    module = paper(options.id).load()
    path = _output(options.output) if options.output else None
    method = replace(module.example(), dict(map(_setting, options.set)))
    steps = getattr(method, "steps", 500) if options.steps is None else options.steps
    run = Run(method, steps, key=options.seed, every=options.every)
    print("compiling", end="\r", file=sys.stderr, flush=True)
    run.compile()
    shown = 0.0
    while not run.finished:
        run.advance(16)
        if time.monotonic() - shown > 0.1 or run.finished:
            shown = time.monotonic()
            _progress(run.step / max(run.end, 1), f"step {run.step} of {run.end}")
    print(file=sys.stderr)
    record = run.record
    for event in record.events:
        print(f"step {event.step}: {event.sentence}")
    print(module.say(record))
    if path:
        print(record.save(path))


def _output(name: str, suffixes: Sequence[str] = ()) -> Path:
    """A file that can be written, which is known before the work and not after it."""
    path = Path(name)
    if suffixes and path.suffix not in suffixes:
        names = ", ".join(suffixes[:-1])
        raise refusal("output", name, f"a name that ends in {names} or {suffixes[-1]}")
    if not path.parent.is_dir():
        raise refusal("output", name, "a file in a folder that is there")
    return path


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise refusal("--set", text, "FIELD=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value  # a choice is a word


def _progress(share: float, words: str) -> None:
    if sys.stderr.isatty():
        bar = "#" * round(30 * share)
        print(f"\r[{bar:30}] {words}  ", end="", file=sys.stderr, flush=True)


def _student(options: argparse.Namespace) -> None:
    from labkit.classroom import write

    for folder in write(Path(options.notebooks), Path(options.folder)):
        print(folder)


def _doctor(options: argparse.Namespace) -> int:
    from labkit.device import examine

    del options
    found, missing = examine()
    for name, what in found:
        print(f"{name:20}{what}")
    for sentence in missing:
        print(f"labkit: {sentence}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
