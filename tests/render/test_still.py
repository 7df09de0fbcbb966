"""`figure(record, views)`: shows itself, says itself, saves itself."""

import base64
import struct
import subprocess
import sys

import numpy as np
import pytest

from labkit.record import Record
from labkit.render import Still, figure
from labkit.views import lines


def one_row():
    columns = {"loss": np.array([0.25]), "sharpness": np.array([[2.0, 1.0]])}
    return Record(np.array([0]), columns)


VIEWS = [lines("loss", log=True), lines("sharpness")]


def test_a_record_of_one_row_is_shown_at_its_natural_size_and_told():
    shown, about = figure(one_row(), VIEWS)._repr_mimebundle_(include=None, exclude=None)
    width, height = struct.unpack(">II", base64.b64decode(shown["image/png"])[16:24])
    assert (width, height) == (2 * about["image/png"]["width"], 2 * about["image/png"]["height"])
    assert "loss 0.250" in shown["text/plain"]


@pytest.mark.parametrize(
    "suffix, start",
    [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".html", b"<!doctype html>")],
)
def test_a_figure_is_saved_as_its_suffix_says(tmp_path, suffix, start):
    path = figure(one_row(), VIEWS, theme="dark").save(tmp_path / f"figure{suffix}")
    assert path.read_bytes().startswith(start)


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.svg"):
        Still([]).save(tmp_path / "figure.docx")


def test_importing_the_renderers_imports_no_plotting_library():
    code = (
        "import sys, labkit.render, labkit.render.text, labkit.render.plotly\n"
        "assert not {'matplotlib', 'plotly', 'IPython'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_drawing_never_touches_pyplot():
    code = (
        "import sys, numpy as np\n"
        "from labkit.render import Still\n"
        "from labkit.views import Curve, Panel, Surface\n"
        "g = np.arange(3.)\n"
        "Still([Panel('t', [Curve(g, g)]), Panel('s', [Surface(np.eye(3), g, g)])]).png()\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
