"""Notebooks in JupyterLab, run whole: a few, or with LABKIT_BROWSER=all each of them."""

import json
import os
from pathlib import Path

import pytest


NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
FEW = [
    "00_start_here.ipynb",
    "dynamics/1_edge_of_stability.ipynb",
    "landscapes/1_slices.ipynb",
    "relaxations/1_choosing.ipynb",
]
ALL = sorted(path.relative_to(NOTEBOOKS).as_posix() for path in NOTEBOOKS.rglob("*.ipynb"))
TRIED = [name for name in ALL if "checkpoints" not in name]
WHOLE = os.environ.get("LABKIT_BROWSER") == "all"
TRIED = TRIED if WHOLE else FEW

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("name", TRIED)
def test_a_notebook_runs_whole_and_every_widget_draws(lab, keep_picture, keep_pictures, name):
    source = json.loads((lab.folder / name).read_text(encoding="utf-8"))
    code = ["".join(c["source"]) for c in source["cells"] if c["cell_type"] == "code"]
    made = sum("\nExplorer(" in f"\n{cell}" for cell in code)
    with lab.open(name) as notebook:
        notebook.run_all()
        assert not notebook.complaints()
        assert notebook.widgets == made
        for index in range(made):
            widget = notebook.widget(index)
            assert widget.arrays(), index
            assert widget.words, index
            assert not widget.view.locator(".modebar-btn[data-title*='Share']").count(), index
        keep_picture(notebook.page, name.replace("/", "-"))
        if WHOLE:
            keep_pictures(notebook, name.removesuffix(".ipynb").replace("/", "-"))
        assert not notebook.failed
        assert not notebook.errors
