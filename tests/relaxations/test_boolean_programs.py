"""Trees of soft logic against plain Python and enumeration."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labkit.relaxations.boolean_programs import (
    OPERATIONS,
    Tree,
    all_cases,
    evaluate,
    expected_length,
    inputs_of,
    python,
    rounded,
    shortest,
    softened,
    table_of,
)


HARD = {
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "nand": lambda a, b: not (a and b),
    "copy": lambda a, b: a,
}
jitted = jax.jit(lambda tree, cases: (evaluate(tree, cases), expected_length(tree)))


def one_hot(nodes, leaves, inputs=2):
    return Tree(
        np.eye(4, dtype=np.float32)[list(nodes)], np.eye(inputs, dtype=np.float32)[list(leaves)]
    )


def naive(nodes, leaves, case, i=0):
    """A program run on one case, and its length, by recursion."""
    if i >= len(nodes):
        return bool(case[leaves[i - len(nodes)]]), 0
    a, m = naive(nodes, leaves, case, 2 * i + 1)
    b, n = naive(nodes, leaves, case, 2 * i + 2)
    name = OPERATIONS[nodes[i]]
    return HARD[name](a, b), m if name == "copy" else m + n + 1


def test_a_tree_of_one_hot_shares_is_its_program():
    cases = all_cases(2)
    random = np.random.default_rng(0)
    for _ in range(100):
        nodes, leaves = random.integers(4, size=3), random.integers(2, size=4)
        values, length = jitted(one_hot(nodes, leaves), cases)
        runs = [naive(nodes, leaves, case) for case in cases]
        assert np.asarray(values).tolist() == [float(value) for value, _ in runs]
        assert length == runs[0][1]


def test_soft_values_are_the_mean_over_programs_drawn_place_by_place(double):
    """Over all 4^3 x 2^4 programs of depth 2, each with the product of its shares."""
    random = np.random.default_rng(1)
    tree = Tree(random.dirichlet(np.ones(4), 3), random.dirichlet(np.ones(2), 4))
    cases, mean, length = all_cases(2), np.zeros(4), 0.0
    for nodes in product(range(4), repeat=3):
        for leaves in product(range(2), repeat=4):
            weight = np.prod(tree.nodes[range(3), nodes]) * np.prod(tree.leaves[range(4), leaves])
            runs = [naive(nodes, leaves, case) for case in cases]
            mean += weight * np.array([float(value) for value, _ in runs])
            length += weight * runs[0][1]
    values, expected = jitted(jax.tree.map(jnp.asarray, tree), cases)
    # The two leaves below a node are drawn independently, and no place is read twice.
    np.testing.assert_allclose(values, mean, atol=1e-12)
    assert float(expected) == pytest.approx(length, abs=1e-12)


def test_python_says_what_the_tree_does():
    random = np.random.default_rng(2)
    for _ in range(100):
        nodes, leaves = random.integers(4, size=7), random.integers(3, size=8)
        tree = one_hot(nodes, leaves, 3)
        expected = [float(naive(nodes, leaves, case)[0]) for case in all_cases(3)]
        assert table_of(python(tree), 3).tolist() == expected


def test_the_shortest_programs_of_two_inputs_have_at_most_three_nodes():
    lengths = shortest(2, 2)
    assert len(lengths) == 16
    of = lambda expression: lengths[tuple(table_of(expression, 2).tolist())]
    assert [of("a"), of("a and b"), of("not a"), of("a and not b")] == [0, 1, 1, 2]
    assert [of("a != b"), of("a == b"), of("not (a or b)"), of("True")] == [3, 3, 3, 2]


def test_parity_of_three_inputs_needs_depth_four():
    """226 of the 256 tables have a tree of depth 3; parity is two XORs, each of depth 2."""
    tables = shortest(3, 3)
    assert len(tables) == 226
    assert tuple(table_of("a ^ b ^ c", 3).tolist()) not in tables


def test_softness_goes_from_the_likeliest_to_no_preference():
    logits = Tree(jnp.array([[0.1, 0.4, 0.2, 0.3]]), jnp.array([[0.0, 1.0], [1.0, 0.5]]))
    for part, hard in zip(softened(logits, 1e-3), rounded(logits), strict=True):
        np.testing.assert_allclose(part, hard, atol=1e-6)
    np.testing.assert_allclose(softened(logits, 1e6).nodes, 0.25, atol=1e-6)


@pytest.mark.parametrize("length", [0, 1, 3, 6])
def test_a_truth_table_has_a_power_of_two_cases(length):
    with pytest.raises(ValueError, match="length of the truth table"):
        inputs_of(np.zeros(length))
