"""The finder and the microscope, against sorting and counting in NumPy, and on digits."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labkit import Run, Sgd, replace, run
from labkit.dynamics import spike_microscope
from labkit.dynamics.planted_digits import planted_digits
from labkit.dynamics.spike_microscope import (
    SpikeMicroscope,
    at_spike,
    example,
    finder,
    sheet,
    swap,
    to_spike,
    unmodified,
    watch,
)
from labkit.problems import LeastSquares, digits_network, sine_network
from labkit.views import Curve, Image


STARTS = range(3)
SINE = sine_network(samples=8, width=4, depth=1)


def test_the_finder_gives_what_sorting_gives():
    rng = np.random.default_rng(0)
    x, y, before, after = (
        rng.normal(size=(12, 3)),
        *map(rng.normal, (0, 0, 0), (1, 1, 1), (12, 3, 3)),
    )
    found = finder(LeastSquares(jnp.array(x), jnp.array(y)), jnp.array(before), jnp.array(after), 4)
    change = (x @ after - y) ** 2 / 2 - (x @ before - y) ** 2 / 2
    np.testing.assert_allclose(found.change, change, rtol=1e-4, atol=1e-5)  # float32
    np.testing.assert_array_equal(found.rose, np.argsort(-change)[:4])
    np.testing.assert_array_equal(found.fell, np.argsort(change)[:4])


@pytest.mark.parametrize("k", [0, 13])
def test_the_finder_refuses_more_examples_than_there_are(k):
    problem = LeastSquares(jnp.ones((12, 3)), jnp.ones(12))
    with pytest.raises(ValueError, match=f"k = {k} is refused; accepted: 1 to 12"):
        finder(problem, jnp.ones(3), jnp.zeros(3), k)


@pytest.mark.parametrize("spike", [1.1, 1.3])
def test_spikes_begin_and_end_where_the_losses_say(spike):
    record = run(replace(example(), {"spike": spike}), 80)
    lowest, spiking, spikes = record["loss"][0], False, 0
    for row, loss in enumerate(record["loss"]):
        begins = not spiking and loss > spike * lowest
        spikes += begins
        spiking = begins or (spiking and loss > lowest)
        lowest = min(lowest, loss)
        assert record["spikes"][row] == spikes
        assert record["lowest"][row] == lowest
    assert spikes >= 2


def test_the_groups_are_found_at_the_spike_and_kept_until_the_next():
    method = example()
    record = run(method, 60)
    begins = [*(np.flatnonzero(np.diff(record["spikes"])) + 1), len(record)]
    change = np.diff(record["losses"], axis=0)
    for row in range(1, begins[0] + 1):  # those of the last step, until the first spike
        np.testing.assert_array_equal(record["groups"][row, 0], np.argsort(-change[row - 1])[:20])
    for start, end in itertools.pairwise(begins):
        rose, fell = np.argsort(-change[start - 1])[:20], np.argsort(change[start - 1])[:20]
        for row in range(start, end):
            np.testing.assert_array_equal(record["groups"][row], [rose, fell])
    mean = [record["losses"][-1][group].mean() for group in record["groups"][-1]]
    np.testing.assert_allclose(record["found_loss"][-1], mean, rtol=1e-5)


@pytest.mark.parametrize("planting", [0, 1])
def test_at_the_largest_spike_most_of_what_rises_was_planted(planting):
    """Starts 0 to 2, two plantings; seen: 0.95, 1, 1 and 0.85, 0.9, 0.85 (by chance 0.14).

    Of those that fall 0.4 to 0.75 are planted: reported in the notebook, not asserted.
    """
    problem = planted_digits(seed=planting)
    method, planted = watch(problem, rule=Sgd(0.25)), np.asarray(problem.members.sum(axis=0)) > 0
    for seed in STARTS:
        record = run(method, 60, key=seed)
        row = np.diff(record["loss"]).argmax()
        change = record["losses"][row + 1] - record["losses"][row]
        assert planted[np.argsort(-change)[:20]].mean() >= 0.8


def test_where_nothing_was_planted_the_finder_does_not_find_it():
    """The same groups without their patch; seen: 0.15 to 0.25, and 0.14 is chance."""
    problem = planted_digits(M=0.0)
    method, planted = watch(problem, rule=Sgd(0.25)), np.asarray(problem.members.sum(axis=0)) > 0
    for seed in STARTS:
        record = run(method, 60, key=seed)
        row = 5 + np.diff(record["loss"][5:]).argmax()
        change = record["losses"][row + 1] - record["losses"][row]
        assert planted[np.argsort(-change)[:20]].mean() <= 0.4


def test_the_step_after_a_spike_the_groups_have_changed_places():
    """Starts 0 to 2, the first spike of each."""
    for seed in STARTS:
        (rose, fell), (then, other) = to_spike(example(), beyond=1, key=seed)["found_loss"][-2:]
        assert rose > fell
        assert then < other


def test_on_the_digits_as_they_are_a_spike_moves_all_outputs_along_one_line():
    """Starts 0 to 2; seen: 99 % of the squares in the first direction, early on 30 %."""
    method, problem = unmodified(), digits_network(samples=300)
    outputs = {"outputs": lambda state: problem.predict(state.w, problem.x)}
    for seed in STARTS:
        record = to_spike(method, key=seed, probes=outputs)
        moved = record["outputs"][-1] - record["outputs"][-2]
        squares = np.linalg.svd(moved, compute_uv=False) ** 2
        assert squares[0] > 0.95 * squares.sum()
        calm = record["outputs"][3] - record["outputs"][2]  # as a step early on does not
        calm = np.linalg.svd(calm, compute_uv=False) ** 2
        assert calm[0] < 0.6 * calm.sum()


def test_it_is_said_when_a_spike_begins_and_only_then():
    going, said = Run(example(), 20), []
    while not going.finished:
        going.advance(1)
        said.append(at_spike(going.record))
    begins = int(np.flatnonzero(going.record["spikes"])[0])
    assert [bool(sentence) for sentence in said].index(True) == begins
    assert sum(map(bool, said)) == going.record.last("spikes")
    assert said[begins].startswith(f"A spike at step {begins}: the loss is 1.")


def test_a_run_to_the_spike_ends_there_or_where_it_is_told():
    record = to_spike(example(), beyond=2)
    assert record["spikes"].tolist() == [0] * (len(record) - 3) + [1] * 3
    np.testing.assert_array_equal(record["loss"], run(example(), len(record) - 1)["loss"])
    assert to_spike(example(), most=4).steps[-1] == 4  # none within 4 steps


def test_the_pictures_are_those_of_the_groups_with_their_labels_counted():
    record = run(example(), 15)
    panel = sheet(0, "Rose")(record)
    labels = example().labels[record.last("groups")[0]]
    threes = int((labels == 3).sum())
    assert f"{threes} x '3'" in panel.title
    (image,) = panel.marks
    assert isinstance(image, Image)
    first = np.asarray(example().images[record.last("groups")[0][0]])
    np.testing.assert_array_equal(image.pixels[1:9, 1:9], first)
    last = np.asarray(example().images[record.last("groups")[0][19]])
    np.testing.assert_array_equal(image.pixels[-9:-1, -9:-1], last)


def test_the_two_groups_are_drawn_over_the_last_steps():
    record = run(example(), 50)
    curves = [mark for mark in swap(record).marks if isinstance(mark, Curve)]
    np.testing.assert_array_equal(curves[0].x, np.arange(21, 51))
    fell = record.last("groups")[1]  # the same examples, back to where they were not yet found
    means = [record["losses"][row, fell].mean() for row in range(21, 51)]
    np.testing.assert_allclose(curves[1].y, means, rtol=1e-5)
    assert "spikes so far 3:" in spike_microscope.say(record)


@pytest.mark.parametrize(
    "images, labels, k, sentence",
    [
        (7, 8, 2, "number of images = 7 is refused; accepted: 8"),
        (8, 9, 2, "number of labels = 9 is refused; accepted: 8"),
        (8, 8, 9, "k = 9 is refused; accepted: at most 8"),
    ],
)
def test_what_does_not_fit_the_examples_is_refused(images, labels, k, sentence):
    shown = jnp.zeros((images, 2, 2)), jnp.zeros(labels, jnp.int32)
    with pytest.raises(ValueError, match=sentence):
        run(SpikeMicroscope(SINE, *shown, k=k), 1)


def test_the_microscope_needs_no_images_of_digits():
    method = SpikeMicroscope(SINE, jnp.zeros((8, 3, 2)), jnp.arange(8), Sgd(0.1), k=3)
    record = run(method, 4)
    assert record.last("images").shape == (2, 3, 3, 2)
    assert jax.tree.structure(method) == jax.tree.structure(replace(method, {"spike": 2.0}))
