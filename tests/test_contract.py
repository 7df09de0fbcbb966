"""What every method promises, whatever it is."""

import functools
import threading
from pathlib import Path

import jax
import matplotlib
import numpy as np
import pytest
from cases import CASES
from PIL import ImageFont

from labkit import check, fields, figure, replace, run, stream
from labkit.loop import see
from labkit.method import Padded
from labkit.render import look, page, plotly
from labkit.run import Run
from labkit.views import Curve, Image, Mesh, Surface, Text
from widgets.player import Player


STEPS = 8  # one length for every test, so that each method compiles once

pytestmark = pytest.mark.budget("contract", 3)

each = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
compiled = [name for name, case in CASES.items() if not case.method.host]
each_compiled = pytest.mark.parametrize("case", [CASES[name] for name in compiled], ids=compiled)


@functools.cache
def _record(name):
    return run(CASES[name].method, STEPS)


def record_of(case):
    """The record of a case, made once for all tests that look at it."""
    return _record(next(name for name, other in CASES.items() if other is case))


def assert_same(one, other):
    np.testing.assert_array_equal(one.steps, other.steps)
    assert list(one) == list(other)
    for name in one:
        for row, twin in zip(one[name], other[name], strict=True):
            np.testing.assert_array_equal(row, twin, err_msg=name)
    assert one.events == other.events


@each_compiled
def test_a_step_keeps_the_structure_shapes_and_dtypes_of_the_state(case, key):
    state = jax.eval_shape(case.method.init, key)
    after = jax.eval_shape(case.method.step, state, key)
    describe = lambda tree: jax.tree.map(lambda a: (a.shape, a.dtype), tree)
    assert describe(after) == describe(state)


@each_compiled
def test_everything_seen_is_finite_but_for_the_padding(case):
    record = record_of(case)
    look = lambda key: see(case.method, case.method.init(key))
    seen = jax.eval_shape(look, jax.random.key(0))  # of each column, whether it is padded
    for name, values in record.columns.items():
        if isinstance(seen.get(name), Padded):
            known = np.arange(values.shape[1]) < record[name + ".count"][:, None]
            assert np.isfinite(values[known]).all(), name
            assert np.isnan(values[~known]).all(), name
        else:
            assert np.isfinite(values).all(), name


@each
def test_every_view_finds_its_columns_and_says_what_is_along_its_axes(case):
    record = record_of(case)
    for view in case.views:
        panel = view(record)
        flat = all(not isinstance(m, Text | Image | Mesh | Surface) for m in panel.marks)
        assert panel.title
        assert panel.marks
        assert not flat or page.bare(panel) or (panel.x and panel.y), panel.title


@functools.cache
def _letters(file, size):
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / file), size)


def long(text, size=look.TEXT_SIZE, bold=False):
    """How many pixels a text takes, in the first font of `look.FONT`."""
    return _letters("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf", size).getlength(text)


@each
@pytest.mark.parametrize("width", [None, 360, 700, 1100])
def test_all_words_of_a_figure_fit_into_their_rooms(case, width):
    panels = [view(record_of(case)) for view in case.views]
    for panel, cell in zip(panels, page.page(panels, width).cells, strict=True):
        for line in page.title_lines(panel, cell.title.width):
            assert long(line, look.TITLE_SIZE, bold=True) < cell.title.width + page.RIGHT
        if page.kind_of(panel) == "plane" and not page.bare(panel):
            assert long(panel.x) < page.LEFT + cell.axes.width + page.RIGHT
            assert long(panel.y) < cell.axes.height
        for mark in page.scaled(panel):
            assert long(page.label_of(panel, mark)) < cell.axes.height
        column = cell.legend.width / cell.columns
        for mark in page.entries(panel, cell.columns):
            for line in page.label_lines(page.label_of(panel, mark), column):
                assert 48 + long(line) < column  # 48: a symbol and the gap behind it


@each
def test_curves_of_one_panel_with_names_of_their_own_look_different(case):
    for view in case.views:
        panel = view(record_of(case))
        roles = [look.role_of(mark, i) for i, mark in enumerate(panel.marks)]
        styles = look.styles(roles, look.THEMES["light"])
        named = {
            mark.label: styles[role][:2]
            for mark, role in zip(panel.marks, roles, strict=True)
            if isinstance(mark, Curve) and mark.label
        }
        assert len(set(named.values())) == len(named), panel.title


@each
def test_all_renderers_draw(case):
    still = figure(record_of(case), case.views)
    assert str(still)
    png, width, height = still.png()
    assert png.startswith(b"\x89PNG")
    assert width > 100
    assert height > 100
    assert len(plotly.figure(still.panels).data) == len(plotly.spec(still.panels).data)


@each_compiled
def test_turning_any_knob_compiles_nothing(case, compilations):
    run(case.method, STEPS)  # not `record_of`: its programs may have been dropped since
    before = compilations.count
    for name, field in fields(case.method).items():
        if field.kind == "knob":
            value = np.asarray(field.value) * 1.01 + 0.001
            turned = replace(case.method, {name: value if value.ndim else float(value)})
            run(turned, STEPS)
    assert compilations.count == before


@each
@pytest.mark.parametrize("chunk", [1, 3])
def test_the_chunk_does_not_change_what_is_seen(case, chunk):
    *_, pieces = stream(case.method, STEPS, chunk=chunk)
    assert_same(pieces, record_of(case))


@each
def test_the_same_key_gives_the_same_record(case):
    first, again = (run(case.method, STEPS, key=3) for _ in range(2))
    assert_same(first, again)


@each
def test_each_field_refuses_in_a_sentence_what_cannot_be(case):
    for name, field in fields(case.method).items():
        bad = {
            "knob": lambda field: np.asarray(field.value) * np.nan,
            "size": lambda field: int(field.low) - 1,
            "choice": lambda field: "no such",
        }
        wrong = replace(case.method, {name: bad[field.kind](field)})
        with pytest.raises(ValueError, match=f"{name} = (?s:.*) is refused; accepted: "):
            check(wrong)
    with pytest.raises(KeyError, match="there is no field"):
        replace(case.method, {"no such": 1.0})


@each
def test_a_player_sees_what_a_run_sees(case):
    shown, done = [], threading.Event()

    def show(record, status):
        shown.append(record)
        if status not in ("compiling", "running", "ready"):
            done.set()

    player = Player(case.method, show, steps=STEPS)
    player.play()
    assert done.wait(60)
    player.close()
    assert_same(shown[-1], record_of(case))


@each
def test_a_run_can_go_on_from_a_record(case):
    first = run(case.method, STEPS // 2)
    rest = Run(case.method, STEPS // 2, after=first)
    rest.advance(STEPS)
    whole = record_of(case)
    for name in whole:
        seen = [*first[name], *rest.record[name]] if len(whole[name]) > 1 else rest.record[name]
        assert len(seen) >= len(whole[name]), name
        for row, twin in zip(whole[name], seen, strict=False):
            np.testing.assert_array_equal(row, twin, err_msg=name)
