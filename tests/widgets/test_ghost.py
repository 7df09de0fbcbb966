"""The run before this one, in grey."""

import numpy as np
import pytest

from labkit.record import Event, Record
from labkit.render import look
from labkit.render.plotly import spec, structure_key
from labkit.views import Curve, Panel, Raster, lines
from widgets import ghost
from widgets.ghost import Ghost


def record(slope, *sentences):
    steps = np.arange(5)
    columns = {"loss": slope * steps, "sharpness": slope + steps}
    return Record(steps, columns, tuple(Event(4, sentence) for sentence in sentences))


VIEWS = [lines("loss"), lines("loss", "sharpness")]


@pytest.fixture
def clock(monkeypatch):
    """`clock[0]` is what time it is."""
    now = [100.0]
    monkeypatch.setattr(ghost.time, "monotonic", lambda: now[0])
    return now


def drawn(kept, now):
    """The heights of all curves, those of ghosts apart."""
    panels = kept.behind([view(now) for view in VIEWS])
    curves = [[m for m in p.marks if isinstance(m, Curve)] for p in panels]
    grey = [[m.y.tolist() for m in c if m.role.startswith(look.GHOST)] for c in curves]
    plain = [[m.y.tolist() for m in c if not m.role.startswith(look.GHOST)] for c in curves]
    return grey, plain


def test_the_curves_of_the_former_run_stand_behind_those_of_this_one(clock):
    kept = Ghost(VIEWS)
    kept.leave(record(1.0), worth=True)
    grey, plain = drawn(kept, record(2.0))
    assert grey == [[[0, 1, 2, 3, 4]], [[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]]
    assert plain == [[[0, 2, 4, 6, 8]], [[0, 2, 4, 6, 8], [2, 3, 4, 5, 6]]]
    kept.button.value = False
    assert drawn(kept, record(2.0))[0] == [[], []]


def test_the_first_ghost_changes_no_structure(clock):
    kept = Ghost(VIEWS)
    panels = [view(record(2.0)) for view in VIEWS]
    before = structure_key(spec(kept.behind(panels)))
    kept.leave(record(1.0), worth=True)
    assert structure_key(spec(kept.behind(panels))) == before


def test_a_hand_that_drags_leaves_the_run_from_before_it(clock):
    kept = Ghost(VIEWS)
    for slope in (1.0, 2.0, 3.0):
        clock[0] += 0.3
        kept.leave(record(slope), worth=True)
    assert drawn(kept, record(9.0))[0][0] == [[0, 1, 2, 3, 4]]
    clock[0] += 2.0
    kept.leave(record(4.0), worth=True)
    assert drawn(kept, record(9.0))[0][0] == [[0, 4, 8, 12, 16]]


def test_a_run_that_showed_little_takes_no_ghost_away(clock):
    kept = Ghost(VIEWS)
    kept.leave(record(1.0), worth=True)
    clock[0] += 2.0
    kept.leave(record(7.0), worth=False)
    assert drawn(kept, record(9.0))[0][0] == [[0, 1, 2, 3, 4]]


def test_a_run_that_diverged_leaves_none(clock):
    kept = Ghost(VIEWS)
    kept.leave(record(1.0), worth=True)
    clock[0] += 2.0
    kept.leave(record(1e30, "diverged at step 4"), worth=True)
    assert np.isnan(drawn(kept, record(9.0))[0][0]).all()


def test_a_ghost_keeps_the_dash_of_its_role_and_takes_no_colour_from_others():
    theme = look.THEMES["light"]
    roles = ["loss", "threshold", "something", "else"]
    plain = look.styles(roles, theme)
    both = look.styles([*(look.GHOST + role for role in roles), *roles, look.GHOST], theme)
    for role in roles:
        assert both[role] == plain[role]
        assert both[look.GHOST + role] == plain[role]._replace(color=theme.ghost)
    assert both[look.GHOST].color == theme.ghost


def test_a_field_has_no_ghost():
    field = Panel("field", [Raster(np.eye(2), np.arange(2), np.arange(2))])
    assert Ghost([]).behind([field]) == [field]
