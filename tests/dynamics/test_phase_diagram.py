"""The diagram over learning rates and seeds, against single runs, the flow alone, and F009."""

import dataclasses
from functools import cache

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from labkit import Sgd, check, fan, figure, knob, pytree, run
from labkit.dynamics import phase_diagram
from labkit.dynamics.central_flow import CentralFlow
from labkit.dynamics.edge_of_stability import EdgeOfStability
from labkit.dynamics.gradient_flow import GradientFlow
from labkit.dynamics.phase_diagram import EVERY, PhaseDiagram, claim, phases, say, table
from labkit.problems import Quadratic, sine_network
from labkit.record import Record


SINE = sine_network(samples=8, width=4, depth=1)
# rows below the edge, over it, and diverging; six seeds do not divide among four devices
SMALL = PhaseDiagram(SINE, 0.2, 3.2, count=5, seeds=6, length=40)
COLUMNS = ("start", "crossing", "sharpness", "distance")


def tables(record):
    return {name: table(record, name) for name in COLUMNS}


@cache
def small():
    return run(SMALL)


def in_double(problem):
    single = lambda a: np.asarray(a).dtype == np.float32
    return jax.tree.map(lambda a: np.asarray(a, float) if single(a) else a, problem)


# ------------------------------------------------------------------ against single runs


@pytest.mark.slow
def test_a_row_is_what_single_runs_show(double):
    # in double: past the edge rounding grows, and a lane is rounded otherwise than a run
    diagram = dataclasses.replace(SMALL, problem=in_double(SINE), count=3, seeds=2, first=0)
    diagram = dataclasses.replace(diagram, smallest=0.275, largest=1.1)
    record = run(diagram)
    for row, lr in enumerate((0.275, 0.55, 1.1)):
        np.testing.assert_allclose(record.last("lrs")[row], lr, rtol=1e-12)
        for lane, seed in enumerate((0, 1)):
            descent = EdgeOfStability(diagram.problem, Sgd(lr), directions=1)
            alone = run(descent, 40, every=EVERY, key=seed)
            shares = [lr / 2 * value for value in alone["sharpness"]]
            seen = [np.nan] * 3
            if np.isfinite(alone["loss"]).all():
                above = [step for step, s in zip(alone.steps, shares, strict=True) if s > 1]
                late = [s for step, s in zip(alone.steps, shares, strict=True) if step >= 30]
                seen = [shares[0], min(above, default=np.nan), np.median(late)]
            told = [table(record, name)[row, lane] for name in COLUMNS[:3]]
            # rounding, 1e-16; at 1.5 times the edge it doubles at each of the 40 steps
            np.testing.assert_allclose(told, seen, rtol=1e-3)


@pytest.mark.slow
def test_the_distance_is_that_to_the_flow_of_the_same_learning_rate(double):
    diagram = dataclasses.replace(SMALL, problem=in_double(SINE), count=3, seeds=2, largest=0.8)
    seen = table(run(diagram), "distance")
    for row, lr in enumerate((0.2, 0.4, 0.8)):
        descent = EdgeOfStability(diagram.problem, Sgd(lr), directions=1)
        flow = GradientFlow(diagram.problem, Sgd(lr), substeps=4)
        for seed in (0, 1):
            middle = descent.midpoint(run(descent, 40, every=40, key=seed).state)
            end = run(flow, 40, every=40, key=seed).state.w
            away = np.linalg.norm(ravel_pytree(middle)[0] - ravel_pytree(end)[0])
            # a straight line between rows of the flow; one step of the flow is 50 times as long
            np.testing.assert_allclose(seen[row, seed], away, rtol=1e-2)


def test_between_the_rows_of_a_path_is_a_straight_line():
    path = np.array([[[0.0, 0.0], [1.0, 2.0], [3.0, 2.0]]])
    for time, place in ((0.0, [0, 0]), (0.25, [0.25, 0.5]), (1.5, [2, 2]), (2.0, [3, 2])):
        np.testing.assert_allclose(phase_diagram._between(path, time), [place])


@pytest.mark.slow
def test_the_distance_to_the_central_flow_is_that_of_a_run_of_it():
    diagram = dataclasses.replace(SMALL, count=2, seeds=2, smallest=0.3, largest=0.6)
    assert "central" not in run(diagram)
    seen = table(run(dataclasses.replace(diagram, central="followed")), "central")
    for row, lr in enumerate((0.3, 0.6)):
        descent, flow = EdgeOfStability(SINE, Sgd(lr), directions=1), CentralFlow(SINE, Sgd(lr))
        for seed in (0, 1):
            middle = descent.midpoint(run(descent, 40, key=seed).state)
            end = run(flow, 40, key=seed).state.w
            away = np.linalg.norm(ravel_pytree(middle)[0] - ravel_pytree(end)[0])
            # rounding, 1e-7 of weights of size 1, over distances of 0.01 and more
            np.testing.assert_allclose(seen[row, seed], away, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_on_a_quadratic_nothing_changes_but_the_phase():
    diagram = PhaseDiagram(Quadratic(np.array([4.0, 1.0])), 0.25, 1.0, count=3, seeds=1, length=40)
    record = run(dataclasses.replace(diagram, length=400))
    # lr h / 2 is 0.5, 1 and 2: below the edge, on it, and 1 - lr h = -3 overflows in 400 steps
    np.testing.assert_allclose(table(record, "start")[:, 0], [0.5, 1.0, np.nan], rtol=1e-5)
    np.testing.assert_allclose(table(record, "sharpness")[:, 0], [0.5, 1.0, np.nan], rtol=1e-5)
    assert np.isnan(table(record, "distance")[2, 0])


# ------------------------------------------------------------------ several devices


SEVERAL = """
import json
import jax
import test_phase_diagram
from labkit import run

jax.config.update("jax_default_matmul_precision", "highest")
record = run(test_phase_diagram.SMALL)
seen = {name: values.tolist() for name, values in test_phase_diagram.tables(record).items()}
print(json.dumps([len(jax.devices()), seen]))
"""


@pytest.mark.slow
def test_four_devices_see_what_one_sees(on_four_devices):
    devices, seen = on_four_devices(SEVERAL)
    assert devices == 4
    for name, values in tables(small()).items():
        # NaN in the same places.  Rounding of 1e-7 a step, which 40 steps near the edge may
        # multiply by a few hundred
        np.testing.assert_allclose(seen[name], values, rtol=1e-3, err_msg=name)


# ------------------------------------------------------------------ what it shows


def test_the_claim_holds_on_the_demonstration():
    claim(phase_diagram.demo()).check()


@pytest.mark.slow
def test_the_claim_holds_on_other_seeds():
    # of seeds 4 to 15, the farthest ended 10 % above the edge
    claim(run(dataclasses.replace(phase_diagram.example(), first=4))).check()


def test_the_flow_alone_foretells_the_crossing():
    diagram, came = phase_diagram.example(), table(phase_diagram.demo(), "crossing")
    flow = GradientFlow(diagram.problem, Sgd(1.0), substeps=3)
    along = fan(flow, 350, over={"key": diagram.seeds}).column("sharpness")
    lrs = phase_diagram.demo().last("lrs")
    pairs = []
    for lr, row in zip(lrs, came, strict=True):
        for sharpness, step in zip(along, row, strict=True):
            if step > 0:  # not where it begins above
                assert (sharpness > 2 / lr).any()
                pairs.append((step, np.argmax(sharpness > 2 / lr) / lr))
    assert len(pairs) > 10
    steps, foretold = np.array(pairs).T
    # a look is up to 5 steps late; descent itself is behind the flow by some 5 % of the way
    assert np.abs(steps - foretold).max() < 15
    assert np.corrcoef(steps, foretold)[0, 1] > 0.99


@pytree
class Shortened:
    """Steps of `factor` times the length that the edge is told for."""

    lr: float = knob(1.0, 0.1, 2.0)
    factor: float = 1.0

    def init(self, params):
        return ()

    def update(self, grads, state, params=None):
        return jax.tree.map(lambda g: -self.factor * self.lr * g, grads), state

    def edge(self):
        return 2.0 / self.lr

    def metric(self, state):
        return 1.0


def other(method_of):
    """The demonstration's diagram of another motion."""
    record, diagram = phase_diagram.demo(), phase_diagram.example()
    rows, lrs = [], record.last("lrs")[::2]
    for lr in lrs:
        method = method_of(diagram.problem, float(lr))
        rows.append(phases(fan(method, diagram.length, over={"key": diagram.seeds}, every=EVERY)))
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    columns |= {"lrs": np.tile(lrs, (len(rows), 1)), "length": record["length"][: len(rows)]}
    return Record(record.steps[: len(rows)], columns)


@pytest.mark.slow
def test_the_claim_holds_on_the_same_descent_put_together_by_hand():
    motion = lambda problem, lr: EdgeOfStability(problem, Shortened(lr, 1.0), directions=1)
    assert claim(other(motion)).holds


@pytest.mark.parametrize("factor", [0.5, -1.0])
def test_the_claim_refuses_steps_of_another_length_or_sign(factor):
    motion = lambda problem, lr: EdgeOfStability(problem, Shortened(lr, factor), directions=1)
    assert not claim(other(motion)).holds


@pytest.mark.slow
def test_the_claim_refuses_gradient_flow():
    motion = lambda problem, lr: GradientFlow(problem, Sgd(lr), substeps=6)
    refused = claim(other(motion))
    assert not refused.holds
    assert refused.seen[0] > 1.0  # the flow's sharpness passes the edge and goes on


def changed(record, **changes):
    return Record(record.steps, {**record.columns, **changes})


def test_the_claim_refuses_other_edges_and_other_orders():
    record = phase_diagram.demo()
    half = changed(record, sharpness=2 * table(record, "sharpness"))  # an edge of 1 / lr
    assert not claim(half).holds
    turned = changed(record, crossing=table(record, "crossing")[::-1])
    assert not claim(turned).holds
    early = changed(record, crossing=np.zeros_like(table(record, "crossing")))
    assert not claim(early).holds


def test_the_claim_refuses_a_diagram_that_has_not_come_to_the_edge_yet():
    early = phase_diagram.demo().until(1)
    assert not claim(early).holds
    assert "0 come to it" in say(early)


# ------------------------------------------------------------------ tables and pictures


@pytest.mark.slow
def test_rows_to_come_are_not_known_and_no_run_of_them_diverged():
    whole, part = small(), small().until(1)
    np.testing.assert_array_equal(table(part, "start")[:2], table(whole, "start")[:2])
    assert np.isnan(table(part, "start")[2:]).all()
    assert table(part, "start").shape == (5, 6)
    assert "2 of 5 learning rates, up to 0.4: 12 runs stay below the edge" in say(part)
    assert "0 diverge." in say(part)


def test_every_run_is_in_one_phase():
    told = say(small())
    final, came = table(small(), "sharpness"), table(small(), "crossing")
    assert np.isnan(came[np.isnan(final)]).all()
    diverged, crossed = np.isnan(final).sum(), np.isfinite(came).sum()
    assert diverged > 0
    assert crossed > 0
    assert f"{30 - diverged - crossed} runs stay below the edge" in told
    assert f"{crossed} come to it, {diverged} diverge" in told


def test_a_heat_map_has_learning_rates_along_x_and_seeds_along_y():
    panel = phase_diagram.views[1](small())
    raster, diverged = panel.marks
    assert panel.log_x
    np.testing.assert_array_equal(raster.z, table(small(), "sharpness").T)
    np.testing.assert_allclose(raster.x, [0.2, 0.4, 0.8, 1.6, 3.2])
    np.testing.assert_array_equal(raster.y, range(6))
    for x, y in zip(diverged.x, diverged.y, strict=True):
        assert np.isnan(raster.z[y, np.argmin(np.abs(raster.x - x))])


def test_medians_are_over_the_seeds_that_have_a_number():
    columns = {
        "lrs": np.array([[1.0, 2.0]] * 2),
        "a.x": np.array([[3.0, np.nan, 5.0], [np.nan] * 3]),
    }
    band, curve = phase_diagram.medians("x", "X", "x")(Record(np.arange(2), columns)).marks
    np.testing.assert_array_equal(curve.y, [4.0, np.nan])
    np.testing.assert_array_equal(band.low, [3.5, np.nan])
    np.testing.assert_array_equal(band.high, [4.5, np.nan])
    assert curve.label == "a"


@pytest.mark.slow
def test_diagrams_side_by_side_are_those_of_each_problem():
    wide = sine_network(samples=8, width=6, depth=1)
    diagram = dataclasses.replace(SMALL, count=2, seeds=2)
    record = phase_diagram.side_by_side(diagram, {"4 units": SINE, "6 units": wide})
    for name, problem in {"4 units": SINE, "6 units": wide}.items():
        alone = run(dataclasses.replace(diagram, problem=problem))
        for column in COLUMNS:
            np.testing.assert_array_equal(table(record, f"{name}.{column}"), table(alone, column))
    assert "6 units" in str(figure(record, [phase_diagram.medians("start", "Start", "share")]))


def test_it_ends_when_every_learning_rate_has_been_run():
    record = run(SMALL, 50)
    assert len(record) == 5
    assert record.events[-1].sentence == "Every learning rate has been run."


def test_a_range_without_learning_rates_is_refused():
    for smallest in (1.0, 2.0):
        with pytest.raises(ValueError, match=r"is refused; accepted: a rate below largest, 1\.$"):
            check(PhaseDiagram(SINE, smallest, 1.0))
