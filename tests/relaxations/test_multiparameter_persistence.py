"""Signed atoms against union-find, scipy and barcodes; their gradient; S063 with its controls."""

from functools import cache

import jax
import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from labkit import check, replace
from labkit.record import Record
from labkit.relaxations.filtered_graphs import Cloud, VertexFunction, two_circles
from labkit.relaxations.multiparameter_persistence import (
    MultiparameterPersistence,
    apart,
    claim,
    count_loss,
    demo,
    example,
    grades_of,
    say,
)
from labkit.relaxations.signed_measures import (
    along_slice,
    count_at,
    hilbert_function,
    moebius,
    on_grid,
    signed_measure,
    when_on_slice,
)


SEEDS = range(5)


@cache
def graph(seed, vertices=9, edges=14, ties=False):
    """Random grades of a random graph, edges none before their ends; with ties, of few values."""
    random = np.random.default_rng(seed)
    pairs = np.stack(np.triu_indices(vertices, 1), axis=1)
    edges = pairs[random.choice(len(pairs), edges, replace=False)]
    draw = lambda *shape: (
        random.integers(4, size=shape) * 1.0 if ties else random.uniform(size=shape)
    )
    own = draw(vertices, 2)
    later = own[edges].max(axis=1) + draw(len(edges), 2) * [0, 1]  # lower star in x, not in y
    return np.concatenate([own, later]), edges


def by_scipy(grades, edges, x, y):
    """Components of what has come by (x, y)."""
    vertices = len(grades) - len(edges)
    come = (grades <= [x, y]).all(axis=1)
    i, j = edges[come[vertices:]].T
    joined = coo_array((np.ones(len(i)), (i, j)), shape=(vertices, vertices))
    _, labels = connected_components(joined, directed=False)
    return len(set(labels[come[:vertices]]))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_hilbert_function_counts_components_and_the_atoms_sum_to_it(seed, ties):
    grades, edges = graph(seed, ties=ties)
    x, y = np.unique(grades[:, 0]), np.unique(grades[:, 1])
    expected = [[by_scipy(grades, edges, a, b) for b in y] for a in x]
    measure = signed_measure(grades, edges)
    np.testing.assert_array_equal(hilbert_function(grades, edges, x, y), expected)
    np.testing.assert_array_equal(count_at(measure, grades, x, y), expected)
    top = by_scipy(grades, edges, np.inf, np.inf)
    assert measure.sign.sum() == top


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_atoms_found_without_a_grid_are_the_moebius_inversion(seed, ties):
    grades, edges = graph(seed, ties=ties)
    x, y = np.unique(grades[:, 0]), np.unique(grades[:, 1])
    mu = moebius(hilbert_function(grades, edges, x, y))
    np.testing.assert_array_equal(mu.cumsum(0).cumsum(1), hilbert_function(grades, edges, x, y))
    measure = signed_measure(grades, edges)
    i, j = np.nonzero(mu)
    inverted = {(x[a], y[b]): mu[a, b] for a, b in zip(i, j, strict=True)}
    places = map(tuple, measure.places(grades))
    assert dict(zip(places, measure.sign, strict=True)) == inverted
    assert (measure.sign != 0).all()


def test_the_grid_of_the_atoms_has_their_coordinates():
    grades, edges = graph(0)
    measure = signed_measure(grades, edges)
    x, y, mu = on_grid(measure, grades)
    assert (np.diff(grades[x, 0]) > 0).all()
    expected = hilbert_function(grades, edges, grades[x, 0], grades[y, 1])
    np.testing.assert_array_equal(mu.cumsum(0).cumsum(1), expected)


def test_two_vertices_and_their_edge_by_hand():
    grades = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 3.0]])
    measure = signed_measure(grades, np.array([[0, 1]]))
    atoms = sorted(zip(map(tuple, measure.places(grades)), measure.sign, strict=True))
    assert atoms == [((0, 1), 1), ((1, 0), 1), ((2, 3), -1)]


def test_an_edge_that_joins_earlier_moves_where_components_meet():
    """A triangle: the path joins at y = 5, the third edge, later in x, already at y = 2."""
    grades = np.array([[0, 0], [0, 0], [0, 0], [1, 5], [1, 1], [2, 2]], float)
    measure = signed_measure(grades, np.array([[0, 1], [1, 2], [0, 2]]))
    atoms = dict(zip(map(tuple, measure.places(grades)), measure.sign, strict=True))
    assert atoms == {(0, 0): 3, (1, 1): -1, (1, 5): -1, (2, 2): -1, (2, 5): 1}


def test_with_scale_alone_it_is_single_linkage():
    points = two_circles(1)
    problem = Cloud(points, by="scale")
    grades = grades_of(problem, points)
    measure = signed_measure(grades, problem.edges)
    scales = np.linspace(0.01, 2.0, 60)
    clusters = [fcluster(linkage(points), t, "distance").max() for t in scales]
    np.testing.assert_array_equal(count_at(measure, grades, scales, [0.0])[:, 0], clusters)


@pytest.mark.parametrize("angle", [10.0, 45.0, 77.0])
def test_along_a_slice_it_is_the_betti_curve_of_one_parameter(angle):
    """Each vertex and edge comes when the slice passes both of its grades: one filtration."""
    points = two_circles(2)
    problem = Cloud(points)
    grades, edges = grades_of(problem, points), problem.edges
    measure = signed_measure(grades, edges)
    atoms = np.column_stack([measure.places(grades), measure.sign])
    t = np.linspace(0.0, 3.0, 61)
    alone = np.repeat(when_on_slice(grades, angle)[:, None], 2, axis=1)
    expected = [by_scipy(alone, edges, s, s) for s in t]
    np.testing.assert_array_equal(along_slice(atoms, angle, t), expected)
    across, up = t * np.cos(np.radians(angle)), t * np.sin(np.radians(angle))
    there = [by_scipy(grades, edges, x, y) for x, y in zip(across, up, strict=True)]
    np.testing.assert_array_equal(there, expected)


def problems():
    """Points, and values on a path with two chords."""
    edges = (*((i, i + 1) for i in range(9)), (0, 5), (3, 8))
    values = np.random.default_rng(4).uniform(size=(10, 2))
    return [Cloud(two_circles(3)), VertexFunction(values, edges)]


@pytest.mark.parametrize("problem", problems(), ids=["points", "values"])
def test_the_gradient_is_that_of_central_differences(problem):
    method = MultiparameterPersistence(problem, k=2.0, scale=0.7, depth=0.8)
    w, h = np.asarray(problem.start, float), 1e-6
    state, random = method.at(w), np.random.default_rng(5)
    assert np.abs(state.grad).max() > 0.01
    for _ in range(6):
        along = random.normal(size=w.shape)
        ends = [method.at(w + sign * h * along).loss for sign in (1, -1)]
        # Piecewise smooth, in double precision: errors were below 1e-9.
        assert abs((ends[0] - ends[1]) / (2 * h) - np.vdot(state.grad, along)) < 1e-8


def test_the_loss_is_the_mean_over_the_box():
    """Against the mean over a fine grid, with components from scipy."""
    grades, edges = graph(3)
    loss, _ = count_loss(signed_measure(grades, edges), grades, 2.0, (0.9, 1.3))
    x, y = (np.arange(400) + 0.5) / 400 * 0.9, (np.arange(400) + 0.5) / 400 * 1.3
    found = np.abs(hilbert_function(grades, edges, x, y) - 2.0).mean()
    assert abs(loss - found) < 0.02  # a cell in 400 at each of some dozen steps of height 1


def test_an_outlier_changes_the_loss_of_two_grades_less_than_that_of_scale_alone():
    """Over 20 seeds by -4 % to 3 %, 2 % in the median, against 3 % to 21 %, 14 %."""
    medians = []
    for by in ("scale and density", "scale"):
        at = lambda points, by=by: MultiparameterPersistence(Cloud(points, by=by)).init(None).loss
        pairs = [(at(two_circles(s)), at(two_circles(s, outliers=0))) for s in range(6)]
        medians.append(np.median([abs(with_it / without - 1) for with_it, without in pairs]))
    assert medians[0] < medians[1] / 3


@pytest.mark.slow
def test_descent_keeps_the_circles_apart_and_scale_alone_does_not():
    """Over 20 seeds 0.94 to 1.00 of their distance was left, and by scale alone 0.20 to 0.25.

    But for one seed, where the outlier was nearer to a circle than the other circle is: 0.91.
    """
    left = np.zeros((10, 2))
    for seed in range(10):
        for index, by in enumerate(("scale and density", "scale")):
            method = replace(example(), {"points": two_circles(seed), "by": by})
            state = method.init(None)
            start = apart(state.w)
            for _ in range(100):
                state = method.step(state, None)
            left[seed, index] = apart(state.w) / start
    assert (left[:, 0] > 0.9).all()
    assert (left[:, 1] < 0.3).sum() >= 8


def test_codensity_is_low_where_points_are_many_and_highest_at_the_outlier():
    points = two_circles(0)
    grades = grades_of(Cloud(points), points)[: len(points)]
    squares = ((points[:, None] - points[None]) ** 2).sum(-1)
    near = np.exp(-squares / (2 * 0.4**2)).sum(1) - 1
    np.testing.assert_allclose(grades[:, 1], 1 - near / (len(points) - 1), atol=1e-12)
    assert grades[:, 1].argmax() == len(points) - 1


def test_points_in_one_place_are_one_cluster_and_have_a_finite_gradient():
    points = np.repeat(two_circles(0, each=1), 2, axis=0)
    state = MultiparameterPersistence(Cloud(points)).at(points)
    assert np.isfinite(state.grad).all()
    assert count_at(state.measure, state.grades, [0.0], [1.0])[0, 0] == 3


def test_what_is_no_filtered_graph_is_refused():
    grades, edges = np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 1.0]]), np.array([[0, 1]])
    with pytest.raises(ValueError, match="none of an edge below those of its ends"):
        signed_measure(grades, edges)
    with pytest.raises(ValueError, match=r"grades = \(3, 1\) is refused"):
        hilbert_function(grades[:, :1], edges, [0.0], [0.0])
    with pytest.raises(ValueError, match=r"points = (?s:.*) is refused; accepted: two points"):
        check(MultiparameterPersistence(Cloud(np.zeros((1, 2)))))
    with pytest.raises(ValueError, match=r"edges = (?s:.*) is refused; accepted: pairs"):
        check(MultiparameterPersistence(VertexFunction(np.zeros((2, 2)), ((0, 2),))))


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "signs sum to 1" in say(demo())
    loss = demo()["loss"]
    assert loss[-1] < 0.6 * loss[0]


def with_columns(**columns):
    """The demonstration with other columns."""
    return Record(demo().steps, dict(demo().columns) | columns)


def test_the_claim_refuses_atoms_without_those_of_exchanged_edges():
    """Only vertices and the forest of all edges: the sum is right, H is not."""
    method = example()
    grades, edges = method.init(None).grades, method.problem.edges
    measure = signed_measure(grades, edges)
    own = measure.x == measure.y
    less = type(measure)(*(column[own] for column in measure))
    x = y = np.linspace(0, 1, 21)
    off = np.abs(count_at(less, grades, x, y) - hilbert_function(grades, edges, x, y)).max()
    assert off > 0
    assert not claim(with_columns(hilbert_error=np.full(len(demo()), off))).holds


def test_the_claim_refuses_a_gradient_of_the_wrong_sign_and_of_one_grade_only():
    method = example()
    state = method.init(None)
    slopes = count_loss(state.measure, state.grades, method.k, method.box)[1]
    with jax.enable_x64(True):
        pull = jax.vjp(method.problem.grades, jax.numpy.asarray(state.w))[1]
        half = np.asarray(pull(jax.numpy.asarray(slopes * [1.0, 0.0]))[0])
    for wrong in (-state.grad, half):
        error = method.slope_error(state._replace(grad=wrong))
        assert not claim(with_columns(slope_error=np.full(len(demo()), error))).holds


def test_the_claim_refuses_scale_alone_in_place_of_two_grades():
    assert not claim(with_columns(w=demo()["scale.w"])).holds
    assert not claim(with_columns(**{"scale.w": demo()["w"]})).holds
