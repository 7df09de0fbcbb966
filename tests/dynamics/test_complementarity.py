"""Complementarity against solutions built backwards, closed forms, a naive route, and symmetry."""

import faulthandler

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from labkit.dynamics import complementarity
from labkit.dynamics.complementarity import smat, solve, svec


RNG = np.random.default_rng
COUNT = 60  # problems in a batch, the same everywhere: one program for each k
solved = jax.jit(solve)
many = jax.jit(jax.vmap(solve))


@pytest.fixture(autouse=True)
def no_hang():
    """LAPACK cannot be interrupted once it hangs on a NaN: end the process, with a traceback."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def coordinates(k):
    """E [k, k, m]: an orthonormal basis of the symmetric matrices, built without the module."""
    basis = []
    for j in range(k):
        for i in range(j + 1):
            e = np.zeros((k, k))
            e[i, j] = e[j, i] = 1.0 if i == j else np.sqrt(0.5)
            basis.append(e)
    return np.stack(basis, -1)


def vec(M):
    return np.einsum("ija,ij->a", coordinates(len(M)), M)


def mat(x, k):
    return np.einsum("ija,a->ij", coordinates(k), x)


def orthogonal(k, rng):
    return np.linalg.qr(rng.normal(size=(k, k)))[0]


def positive(m, rng, condition=30.0):
    """A random B with eigenvalues from 1 / condition to 1."""
    Q = orthogonal(m, rng)
    return (Q * np.geomspace(1 / condition, 1, m)) @ Q.T


def symmetric(k, rng):
    M = rng.normal(size=(k, k))
    return (M + M.T) / 2


def built(k, rank, rng, B=None, idle=0):
    """A, B, X, S with a known answer: X of this rank, S of rank k - rank - idle."""
    m = k * (k + 1) // 2
    B = positive(m, rng) if B is None else B
    Q, size = orthogonal(k, rng), rng.uniform(0.3, 2, k)
    at = np.arange(k)
    X = (Q * np.where(at < rank, size, 0)) @ Q.T
    S = (Q * np.where(at >= rank + idle, size, 0)) @ Q.T
    return S - mat(B @ vec(X), k), B, X, S


def apart(A, B, X):
    """The residual of the docstring, in NumPy and float64."""
    A, B, X = (np.asarray(a, float) for a in (A, B, X))
    effect = mat(B @ vec(X), len(A))
    S, size = A + effect, np.abs(A).max() + np.abs(effect).max()
    along = np.abs(X).max() or 1.0
    low = min(np.linalg.eigvalsh(X)[0] / along, np.linalg.eigvalsh(S)[0] / size)
    return max(-low, abs(np.sum(X * S)) / along / size, 0.0)


# -- coordinates


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_coordinates_keep_the_inner_product_and_the_order_of_pairs(double, k):
    M, N = symmetric(k, RNG(0)), symmetric(k, RNG(1))
    x = svec(jnp.asarray(M))
    np.testing.assert_allclose(x @ svec(jnp.asarray(N)), np.sum(M * N), rtol=1e-14)
    np.testing.assert_allclose(x, vec(M), rtol=1e-15)  # pairs, first those of the first vectors
    np.testing.assert_allclose(smat(x), M, rtol=1e-15)


def test_coordinates_keep_the_precision(double):
    assert svec(jnp.eye(3, dtype=jnp.float32)).dtype == jnp.float32
    assert smat(jnp.ones(6, jnp.float32)).dtype == jnp.float32
    A, B = jnp.eye(2, dtype=jnp.float32), jnp.eye(3, dtype=jnp.float32)
    answer = solved(-A, B)
    assert (answer.X.dtype, answer.residual.dtype) == (jnp.float32, jnp.float32)


# -- known answers


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_an_answer_that_was_built_backwards_is_found(double, k):
    rng = RNG(k)
    cases = [built(k, c % (k + 1), rng) for c in range(COUNT)]
    A, B, X, _ = map(np.stack, zip(*cases, strict=True))
    answer = many(A, B)
    # eps times the condition of B (30) and a few hundred operations
    np.testing.assert_allclose(answer.X, X, atol=1e-11)
    assert answer.residual.max() < 1e-12
    ranks = (np.linalg.eigvalsh(answer.X) > 1e-9).sum(-1)
    np.testing.assert_array_equal(ranks, np.arange(COUNT) % (k + 1))


@pytest.mark.parametrize("k", [2, 5])
def test_an_answer_that_was_built_backwards_is_found_in_single_precision(k):
    rng = RNG(k)
    cases = [built(k, c % (k + 1), rng) for c in range(COUNT)]
    A, B, X, _ = (np.stack(c).astype(np.float32) for c in zip(*cases, strict=True))
    answer = many(A, B)
    assert answer.X.dtype == np.float32
    np.testing.assert_allclose(answer.X, X, atol=2e-3)  # eps 1.2e-7, times 30, times hundreds
    assert answer.residual.max() < 1e-5


def test_one_direction_is_the_closed_form(double):
    rng = RNG(0)
    size = (COUNT, 1, 1)
    A = rng.normal(size=size) * 10.0 ** rng.uniform(-5, 5, size)
    B = rng.uniform(0.1, 1, size) * 10.0 ** rng.uniform(-5, 5, size)
    answer = many(A, B)
    np.testing.assert_allclose(answer.X, np.maximum(0, -A / B), rtol=1e-15)  # to rounding
    assert answer.iterations.max() == 1


def test_diagonal_problems_fall_apart_into_one_for_each_direction(double):
    """B acts on diagonals entry by entry: X_ii = max(0, -A_ii / B_ii)."""
    a, b = np.array([-2.0, 3.0, -0.5]), np.array([0.5, 1.0, 4.0])
    B = np.eye(6)
    B[np.ix_([0, 2, 5], [0, 2, 5])] = np.diag(b)  # the pairs 00, 01, 11, 02, 12, 22
    np.testing.assert_allclose(solved(np.diag(a), B).X, np.diag([4.0, 0, 0.125]), atol=1e-13)


def test_the_projection_onto_the_cone_is_a_special_case(double):
    """With B the identity X is the positive part of -A; a lost sqrt(2) would bend it."""
    A = symmetric(4, RNG(5))
    values, Q = np.linalg.eigh(-A)
    answer = solved(A, np.eye(10))
    np.testing.assert_allclose(answer.X, (Q * np.maximum(values, 0)) @ Q.T, atol=1e-13)


def test_without_sqrt_2_beside_the_diagonal_the_answer_is_another(double, monkeypatch):
    """The check above sees the convention: the same problem with a weight of 1 fails it."""
    A = symmetric(4, RNG(5))
    values, Q = np.linalg.eigh(-A)
    right = (Q * np.maximum(values, 0)) @ Q.T
    monkeypatch.setattr(complementarity, "_weights", lambda k, dtype: np.ones(k * (k + 1) // 2))
    wrong = jax.jit(lambda A, B: solve(A, B))(A, np.eye(10)).X
    assert not np.abs(wrong - right).max() < 0.01


@pytest.mark.parametrize("k", [2, 3])
def test_it_is_the_minimum_that_a_general_minimizer_finds(double, k):
    """min <X, B[X]> / 2 + <A, X> over X = L L', by L-BFGS from several starts."""
    rng = RNG(10 + k)
    for _ in range(3):
        A, B = symmetric(k, rng), positive(k * (k + 1) // 2, rng)

        def value(flat, A=A, B=B):
            L = flat.reshape(k, k)
            X = L @ L.T
            effect = mat(B @ vec(X), k)
            return np.sum(X * (effect / 2 + A)), (2 * (A + effect) @ L).ravel()

        starts = [rng.normal(size=k * k) for _ in range(4)]
        runs = [
            minimize(value, s, jac=True, options={"gtol": 1e-10, "maxiter": 2000}) for s in starts
        ]
        L = min(runs, key=lambda run: run.fun).x.reshape(k, k)
        # the minimizer stops where the value no longer changes: 1e-16, so X about 1e-8 off
        np.testing.assert_allclose(solved(A, B).X, L @ L.T, atol=1e-5)


# -- symmetry


def test_a_turn_of_the_directions_turns_the_answer(double):
    rng = RNG(2)
    A, B, X, _ = built(4, 2, rng)
    Q = orthogonal(4, rng)
    turn = np.stack([vec(Q @ mat(e, 4) @ Q.T) for e in np.eye(10)], 1)
    answer = solved(Q @ A @ Q.T, turn @ B @ turn.T)
    np.testing.assert_allclose(answer.X, Q @ X @ Q.T, atol=1e-11)


@pytest.mark.parametrize(("of_A", "of_B"), [(1e-7, 1.0), (1e6, 1.0), (1.0, 1e-7), (1e5, 1e-5)])
def test_sizes_change_the_size_of_the_answer_alone(double, of_A, of_B):
    A, B, *_ = built(3, 1, RNG(4))
    before, after = solved(A, B), solved(of_A * A, of_B * B)
    np.testing.assert_allclose(after.X * of_B / of_A, before.X, rtol=1e-11, atol=1e-13)
    assert after.residual < 1e-12


def test_a_batch_is_its_problems_one_by_one(double):
    rng = RNG(6)
    A = np.stack([symmetric(3, rng) for _ in range(COUNT)])
    B = np.stack([positive(6, rng) for _ in range(COUNT)])
    batch = many(A, B)
    for c in range(5):
        one = solved(A[c], B[c])
        # another order of the operations, times the condition of B
        np.testing.assert_allclose(batch.X[c], one.X, atol=1e-12)


# -- idle directions


@pytest.mark.parametrize("active", [(1, 1, 0, 0), (0, 1, 0, 1), (1, 0, 1, 1)])
@pytest.mark.parametrize("large", [1.0, 1e8, np.nan])
def test_idle_directions_leave_the_others_alone(active, large):
    """What stands there is not read, so that a large gap costs no digits of float32."""
    active = np.array(active, bool)
    inside = np.flatnonzero(active)
    c = len(inside)
    A, B, X, _ = built(c, 1, RNG(7))
    whole = np.full((4, 4), large)
    whole[np.ix_(inside, inside)] = A
    E = coordinates(4)
    pairs = np.flatnonzero(np.abs(E[~active]).sum((0, 1)) + np.abs(E[:, ~active]).sum((0, 1)) == 0)
    operator = np.full((10, 10), large)
    operator[np.ix_(pairs, pairs)] = B
    answer = solved(whole.astype(np.float32), operator.astype(np.float32), active)
    expected = np.zeros((4, 4))
    expected[np.ix_(inside, inside)] = X
    np.testing.assert_allclose(answer.X, expected, atol=3e-4)  # eps 1.2e-7, times 30, times 100
    np.testing.assert_array_equal(answer.X[~active], 0)
    assert answer.residual < 1e-5


def test_with_no_direction_active_there_is_no_oscillation():
    answer = solved(-jnp.eye(3), jnp.eye(6), jnp.zeros(3, bool))
    np.testing.assert_array_equal(answer.X, 0)
    assert answer.residual == 0


# -- the border


@pytest.mark.parametrize("values", [(1.0, 2.0, 3.0), (0.0, 1.0, 2.0), (0.0, 0.0, 0.0)])
def test_without_a_negative_gap_there_is_no_oscillation_at_all(double, values):
    rng = RNG(8)
    Q = orthogonal(3, rng)
    answer = solved((Q * np.array(values)) @ Q.T, positive(6, rng))
    np.testing.assert_array_equal(answer.X, 0)
    assert answer.residual < 1e-15
    np.testing.assert_array_equal(solved(np.eye(3), np.zeros((6, 6))).X, 0)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_directions_in_neither_part_cost_no_accuracy(double, k):
    """X and S both zero along one direction: strict complementarity fails."""
    rng = RNG(20 + k)
    cases = [built(k, k // 2, rng, idle=1) for _ in range(COUNT)]
    A, B, X, _ = map(np.stack, zip(*cases, strict=True))
    answer = many(A, B)
    assert answer.residual.max() < 1e-12
    np.testing.assert_allclose(answer.X, X, atol=1e-9)  # such X answer to noise in A more loudly


def test_equal_gaps_are_no_trouble(double):
    np.testing.assert_allclose(solved(-2 * np.eye(4), np.eye(10)).X, 2 * np.eye(4), atol=1e-14)


def test_a_singular_operator_fixes_what_opens_the_gap(double):
    """X may be one of many; A + B[X] is unique."""
    rng = RNG(9)
    v = vec(np.eye(3) + 0.3 * symmetric(3, rng))
    A, B, _, S = built(3, 1, rng, B=np.outer(v, v))
    answer = solved(A, B)
    assert answer.residual < 1e-9
    np.testing.assert_allclose(A + mat(B @ vec(answer.X), 3), S, atol=1e-8)


# -- no answer


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_problem_without_an_answer_has_a_large_residual(double, k):
    answer = solved(-np.eye(k), np.zeros((k * (k + 1) // 2,) * 2))
    assert not answer.residual < 0.1  # NaN, from numbers that left the range, would do as well


def test_an_operator_that_cannot_open_the_gap_is_told(double):
    B = np.diag([1.0, 0, 0])  # opens the first direction alone
    assert not solved(np.diag([-1.0, -1.0]), B).residual < 0.1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_numbers_that_are_not_finite_come_back_at_once_as_nan(k, bad):
    m = k * (k + 1) // 2
    A = np.eye(k, dtype=np.float32)
    A[0, 0] = bad
    B = np.eye(m, dtype=np.float32)
    B[0, 0] = bad
    for answer in (solved(A, np.eye(m, dtype=np.float32)), solved(-np.eye(k, dtype=np.float32), B)):
        assert np.isnan(answer.residual)
        assert np.isnan(answer.X).all()
        assert answer.iterations == 0


def test_an_operator_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"B = .*\(4, 4\).* accepted: of shape \(3, 3\)"):
        solve(jnp.eye(2), jnp.eye(4))


# -- how good, over many


def random_problems(k, count=COUNT):
    """Full-rank random B = G G', A of either sign, sizes over ten decades."""
    rng = RNG(30 + k)
    m = k * (k + 1) // 2
    A = np.stack([symmetric(k, rng) * 10.0 ** rng.uniform(-5, 5) for _ in range(count)])
    G = rng.normal(size=(count, m, m))
    return A, G @ G.transpose(0, 2, 1) * 10.0 ** rng.uniform(-5, 5, (count, 1, 1))


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_random_problems_of_all_sizes_are_solved(double, k):
    A, B = random_problems(k)
    answer = many(A, B)
    assert answer.residual.max() <= 1e-9
    assert max(map(apart, A, B, answer.X)) <= 1e-9  # by the other route
    assert answer.iterations.max() < complementarity.LIMIT


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_random_problems_of_all_sizes_are_solved_in_single_precision(k):
    A, B = (a.astype(np.float32) for a in random_problems(k))
    answer = many(A, B)
    # X rounded to float32 is off by eps |X|, and S by eps |B| |X|, which may be large beside A
    assert answer.residual.max() <= 1e-3
    assert np.median(answer.residual) <= 1e-5
    assert max(map(apart, A, B, answer.X)) <= 1e-3


def test_the_residual_is_what_it_says(double, monkeypatch):
    """Also of a poor answer, from a search that is stopped early."""
    A, B = symmetric(3, RNG(11)) - np.eye(3), positive(6, RNG(12), 1e4)
    monkeypatch.setattr(complementarity, "LIMIT", 2)
    answer = jax.jit(lambda A, B: solve(A, B))(A, B)
    assert answer.residual > 1e-3
    np.testing.assert_allclose(answer.residual, apart(A, B, answer.X), rtol=1e-9)
    assert solved(A, B).residual < 1e-12
