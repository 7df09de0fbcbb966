"""The command line: what it prints, what it writes, and its exit codes."""

import subprocess
import sys

import numpy as np
import pytest

from labkit import load, run
from labkit.__main__ import main
from labkit.landscapes import surface_descent
from labkit.papers import papers


def test_papers_lists_all_or_those_with_the_words(capsys):
    assert main(["papers"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("F001", "soft_sort", "exact"))
    assert main(["papers", "argsort"]) == 0
    found = capsys.readouterr().out
    assert "F004" in found
    assert "F001" not in found
    assert main(["papers", "no", "such", "words"]) == 1
    assert "is refused; accepted: words of a title" in capsys.readouterr().err


@pytest.mark.parametrize(
    "suffix, begins", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_figure_writes_what_the_suffix_says(suffix, begins, tmp_path, capsys):
    path = tmp_path / f"picture.{suffix}"
    assert main(["figure", "F006", "-o", str(path)]) == 0
    assert path.read_bytes().startswith(begins)
    assert "Step 200" in capsys.readouterr().out


def test_a_figure_as_a_page_needs_nothing_from_elsewhere(tmp_path):
    path = tmp_path / "picture.html"
    assert main(["figure", "soft_sort", "-o", str(path), "--theme", "dark"]) == 0
    page = path.read_text(encoding="utf-8")
    assert "Plotly.newPlot" in page
    assert 'src="http' not in page


def test_figures_makes_a_sheet_of_every_paper_in_both_themes(tmp_path, capsys, monkeypatch):
    few = {name: row for name, row in papers().items() if name in ("F004", "F006")}
    monkeypatch.setattr(sys.modules["labkit.papers"], "papers", lambda: few)
    assert main(["figures", str(tmp_path)]) == 0
    assert {p.name for p in tmp_path.glob("*.png")} == {"light.png", "dark.png"}
    assert len(list(tmp_path.glob("*/*.png"))) == 4
    assert "light.png" in capsys.readouterr().out


def test_run_sets_fields_and_keeps_the_record(tmp_path, capsys):
    path = tmp_path / "record.npz"
    settings = ["lr=0.005", "w0=[2.0, 2.0]", "shape=himmelblau"]
    arguments = ["run", "surface_descent", "--set", *settings, "--steps", "20", "-o", str(path)]
    assert main(arguments) == 0
    assert "Step 20" in capsys.readouterr().out
    record = load(path)
    assert record.meta["fields"]["rule.lr"] == 0.005
    np.testing.assert_array_equal(record.steps, np.arange(21))
    np.testing.assert_array_equal(record["w"][0], [2.0, 2.0])
    assert record.last("loss") != run(surface_descent.example(), 20).last("loss")


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["run", "F006", "--set", "lr=-1"], "rule.lr = -1 is refused; accepted: a finite number"),
        (["run", "F006", "--set", "lr=nan"], "rule.lr = 'nan' is refused"),
        (["run", "F006", "--set", "rate=1"], "there is no field of SurfaceDescent 'rate'"),
        (["run", "F006", "--set", "lr"], "--set = 'lr' is refused; accepted: FIELD=VALUE"),
        (["run", "F006", "--steps", "-3"], "steps = -3 is refused"),
        (["run", "nothing"], "there is no paper 'nothing'"),
        (["figure", "F006", "-o", "picture.gif"], "a name that ends in .png, .svg, .pdf or .html"),
        (["figure", "F006", "-o", "not/there.png"], "a file in a folder that is there"),
        (["run", "F006", "-o", "not/there.npz"], "a file in a folder that is there"),
    ],
)
def test_what_cannot_be_is_answered_with_a_sentence(arguments, says, capsys):
    assert main(arguments) == 1
    assert says in capsys.readouterr().err


def test_a_run_that_diverges_says_so_and_still_ends_well(capsys):
    assert main(["run", "F006", "--set", "lr=10", "--steps", "50"]) == 0
    assert "diverged at step" in capsys.readouterr().out


def test_doctor_says_what_is_there(capsys):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("device", "jupyterlab", "compilation cache"))


def test_doctor_fails_where_live_figures_cannot_work(monkeypatch, capsys):
    monkeypatch.setattr("labkit.device.version", lambda name: "" if name == "anywidget" else "1")
    assert main(["doctor"]) == 1
    assert "anywidget is missing" in capsys.readouterr().err


def test_bad_usage_ends_with_two():
    command = [sys.executable, "-m", "labkit", "figure", "F006"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "-o/--output" in done.stderr


def test_importing_labkit_imports_no_library_that_draws():
    heavy = ("matplotlib", "plotly", "IPython", "ipywidgets", "sklearn")
    code = f"import labkit, sys; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
