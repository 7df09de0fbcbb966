"""Random labels on a graph against enumeration, and their rounding against single changes."""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labkit import check, fan, replace
from labkit.record import Record
from labkit.relaxations.graph_relaxation import GraphRelaxation, example, say, views
from labkit.relaxations.small_graphs import IndependentSet, graph, petersen
from labkit.run import Run
from labkit.views import Points


TASKS = ("independent set", "colouring")
each_task = pytest.mark.parametrize("task", TASKS)
PATH = graph(4, [(0, 1), (1, 2), (2, 3), (0, 2)])


def hard_cost(adjacency, labels, task, beta=1.5):
    """Of labels, edge by edge; 1 is in."""
    i, j = np.nonzero(np.triu(adjacency))
    if task == "colouring":
        return float((labels[i] == labels[j]).sum())
    return float(beta * (labels[i] * labels[j]).sum() - labels.sum())


@cache
def settled(task):
    """The records of 16 starts on the Petersen graph."""
    return fan(replace(example(), {"task": task}), 120, over={"key": 16}).records


@each_task
def test_the_cost_is_the_mean_over_all_labels(task):
    method = GraphRelaxation(jnp.asarray(PATH), task=task, colours=3)
    p = jax.nn.softmax(jax.random.normal(jax.random.key(1), (4, method.labels)))
    cost, h = jax.jit(lambda p: (method.cost(p), method.label_costs(p)))(p)

    def mean(p):
        total = 0.0
        for labels in itertools.product(range(method.labels), repeat=4):
            chance = np.prod([p[i, c] for i, c in enumerate(labels)])
            total += chance * hard_cost(PATH, np.array(labels), task)
        return total

    assert cost == pytest.approx(mean(np.asarray(p)), rel=1e-5)  # float32
    for i in range(4):
        certain = np.asarray(p)[None].repeat(method.labels, 0)
        certain[:, i] = np.eye(method.labels)
        values = np.array([mean(q) for q in certain])
        slope = np.asarray(h[i])  # what a label costs, but for what the other nodes cost
        np.testing.assert_allclose(slope - slope[0], values - values[0], atol=1e-5)


@each_task
def test_rounding_never_costs_more_and_ends_where_no_node_gains(task):
    for record in settled(task)[:4]:
        assert (record["rounded_cost"] <= record["cost"] + 1e-5).all()
        for row in (0, 20, -1):
            labels, cost = record["labels"][row], record["rounded_cost"][row]
            assert cost == hard_cost(petersen(), labels, task)
            for i, label in itertools.product(range(10), np.unique(record["labels"])):
                other = np.where(np.arange(10) == i, label, labels)
                assert hard_cost(petersen(), other, task) >= cost


def test_the_best_of_sixteen_starts_is_a_largest_set_and_a_colouring():
    sets, colourings = ([r.last("rounded_cost") for r in settled(task)] for task in TASKS)
    assert min(sets) == round(IndependentSet(jnp.asarray(petersen())).optimum()) == -4
    assert min(colourings) == 0


def test_where_a_start_ends_its_set_has_no_edge_inside_and_takes_no_other_node():
    for record in settled("independent set"):
        x = record.last("labels")
        assert x @ petersen() @ x == 0
        assert ((petersen() @ x)[x == 0] > 0).all()


def test_an_edge_that_is_drawn_between_two_nodes_of_the_set_makes_one_leave():
    going = Run(example(), 300, every=10)
    going.advance(12)
    first, second = np.flatnonzero(going.record.last("labels"))[:2]
    drawn = jnp.asarray(petersen()).at[second, first].set(1.0)  # one way round is enough
    going.turn(replace(example(), {"adjacency": drawn}))
    going.advance(20)
    labels, p = going.record.last("labels"), going.record.last("p")
    assert labels[first] * labels[second] == 0
    assert p[first] * p[second] < 0.1
    assert going.record.last("edges")[first, second] == 1.0


def test_an_edge_is_drawn_above_a_half_either_way_round_and_never_to_itself():
    drawn = jnp.array([[1.0, 0.6, 0.5], [0.0, 0.0, 0.0], [0.4, 0.7, 1.0]])
    edges = GraphRelaxation(drawn).edges()
    np.testing.assert_array_equal(edges, graph(3, [(0, 1), (1, 2)]))


def test_it_says_what_has_settled():
    record = settled("independent set")[0]
    nodes = np.flatnonzero(record.last("labels")) + 1
    assert f"{len(nodes)} nodes in ({', '.join(map(str, nodes))}), 0 edges inside." in say(record)
    assert "of 15 edges clash." in say(settled("colouring")[0])


def test_each_label_is_drawn_where_it_is():
    record = settled("colouring")[0]
    panel = views[0](record)
    drawn = [len(mark.x) for mark in panel.marks if isinstance(mark, Points)]
    assert drawn == [(record.last("labels") == c).sum() for c in (1, 2, 3)]
    one = Record(record.steps[:1], {n: v[:1] for n, v in record.columns.items()})
    assert "Step 0" in say(one)


def test_a_matrix_that_is_not_square_is_refused():
    with pytest.raises(ValueError, match=r"shape of adjacency = \(2, 3\) is refused"):
        check(GraphRelaxation(jnp.ones((2, 3))))
