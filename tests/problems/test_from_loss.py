"""Anyone's loss as a problem: plain, Equinox and Flax; what is refused and warned of."""

import functools
import warnings

import equinox
import flax.linen
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from flax import nnx

from labkit.problems import from_loss


X = np.linspace(-1.0, 1.0, 16, dtype=np.float32)[:, None]
Y = np.sin(3.0 * X)
LARGE = np.zeros((1001, 100), np.float32)


def squared(model, data):
    x, y = data
    return jnp.mean((jax.vmap(model)(x) - y) ** 2)


def train(problem, steps=50, lr=0.1):
    """A plain jitted loop, as anyone would write it; first and last loss."""

    traced = []

    @jax.jit
    def step(problem, w):
        traced.append(problem)
        value, grad = jax.value_and_grad(problem.loss)(w)
        return jax.tree.map(lambda p, g: p - lr * g, w, grad), value

    w, values = problem.start(jr.key(0)), []
    for _ in range(steps):
        w, value = step(problem, w)
        values.append(float(value))
    assert len(traced) == 1
    return w, values


def test_a_plain_loss_over_a_dictionary_trains():
    loss = lambda p, data: jnp.mean((data[0] @ p["slope"] + p["shift"] - data[1]) ** 2)
    problem = from_loss(loss, {"slope": np.zeros((1, 1)), "shift": jnp.array(0.0)}, (X, 2 * X + 1))
    w, values = train(problem, steps=200, lr=0.3)
    # The error shrinks by 1 - 2 lr / 3 a step or faster: to 1e-17 after 200, beyond float32.
    assert values[-1] < 1e-9
    np.testing.assert_allclose([w["slope"].item(), w["shift"]], [2.0, 1.0], atol=1e-4)


def test_a_loss_without_data_takes_the_parameters_alone():
    problem = from_loss(lambda w: jnp.sum((w - 3.0) ** 2), jnp.zeros(2))
    assert problem.data is None
    assert problem.loss(jnp.ones(2)) == pytest.approx(8.0)


def test_an_equinox_model_trains_and_keeps_its_functions():
    model = equinox.nn.MLP(1, 1, 8, 1, activation=jnp.tanh, key=jr.key(0))
    problem = from_loss(squared, model, (X, Y))
    w = problem.start(jr.key(0))
    assert all(equinox.is_inexact_array(leaf) for leaf in jax.tree.leaves(w))
    assert w.activation is None
    w, values = train(problem)
    assert values[0] == pytest.approx(float(squared(model, (X, Y))), rel=1e-5)
    assert values[-1] < 0.8 * values[0]
    trained = problem.whole(w)
    assert trained(X[0]).shape == (1,)
    assert squared(trained, (X, Y)) < values[0]


def test_an_equinox_model_without_biases_keeps_its_own_nones():
    model = equinox.nn.Linear(1, 1, use_bias=False, key=jr.key(0))
    problem = from_loss(squared, model, (X, Y))
    assert problem.whole(problem.start(jr.key(0))).bias is None


def test_a_flax_linen_model_trains():
    model = flax.linen.Sequential([flax.linen.Dense(8), jnp.tanh, flax.linen.Dense(1)])
    loss = lambda params, data: jnp.mean((model.apply(params, data[0]) - data[1]) ** 2)
    _, values = train(from_loss(loss, model.init(jr.key(0), X), (X, Y)))
    assert values[-1] < 0.8 * values[0]


def test_a_flax_nnx_model_trains():
    model = nnx.Sequential(
        nnx.Linear(1, 8, rngs=nnx.Rngs(0)), jnp.tanh, nnx.Linear(8, 1, rngs=nnx.Rngs(1))
    )
    graph, params = nnx.split(model)
    loss = lambda params, data: jnp.mean((nnx.merge(graph, params)(data[0]) - data[1]) ** 2)
    _, values = train(from_loss(loss, params, (X, Y)))
    assert values[-1] < 0.8 * values[0]


def test_whole_numbers_keys_and_functions_are_held():
    params = {
        "w": jnp.ones(3),
        "places": np.array([0, 2]),
        "key": jr.key(5),
        "times": 2,
        "f": jnp.square,
        "flag": np.array(True),
    }

    def loss(p):
        noise = jr.normal(p["key"], (2,))
        return jnp.where(
            p["flag"], p["times"] * jnp.sum(p["f"](p["w"])[p["places"]] + 0 * noise), 0
        )

    problem = from_loss(loss, params)
    w = problem.start(jr.key(0))
    assert {name for name, value in w.items() if value is not None} == {"w"}
    np.testing.assert_array_equal(jax.jit(jax.grad(problem.loss))(w)["w"], [4.0, 0.0, 4.0])


def test_held_arrays_and_data_are_arguments_of_the_compiled_loss():
    traced = []
    compiled = jax.jit(lambda problem, w: (traced.append(w), problem.loss(w))[1])
    loss = lambda p, data: jnp.sum(p["w"][p["place"]] * data)
    for place, data in ((0, 1.0), (1, 5.0)):
        params = {"w": jnp.array([2.0, 3.0]), "place": jnp.array(place)}
        problem = from_loss(loss, params, jnp.array(data))
        assert compiled(problem, problem.params) == (2.0, 15.0)[place]
    assert len(traced) == 1


def test_a_batch_is_used_in_place_of_the_data():
    problem = from_loss(lambda w, data: jnp.mean((w - data) ** 2), jnp.array(0.0), jnp.arange(4.0))
    assert problem.loss(jnp.array(0.0)) == pytest.approx(3.5)
    assert problem.loss(jnp.array(0.0), jnp.array([2.0])) == pytest.approx(4.0)


@pytest.mark.parametrize(
    "loss, sentence",
    [
        (lambda w: w**2, r"shape of the loss = \(3,\) is refused; accepted: \(\), one number"),
        (lambda w: jnp.sum(w).astype(int), "dtype of the loss = 'int32'"),
        (lambda w: jax.lax.complex(w[0], w[1]), "dtype of the loss = 'complex64'"),
        (lambda w: (jnp.sum(w), w), "value of the loss"),
        (lambda w: None, "value of the loss = None"),
    ],
)
def test_a_loss_that_is_not_one_real_number_is_refused(loss, sentence):
    with jax.enable_x64(False), pytest.raises(ValueError, match=sentence):
        from_loss(loss, jnp.ones(3))


@pytest.mark.parametrize("params", [jnp.arange(3), {}, None, 1.0, [jnp.tanh, 2]])
def test_parameters_without_an_array_of_floats_are_refused(params):
    with pytest.raises(ValueError, match=r"params = .* at least one array of floats"):
        from_loss(lambda p: 0.0, params)


def test_complex_parameters_are_refused():
    with pytest.raises(ValueError, match="a real and an imaginary part"):
        from_loss(lambda p: jnp.sum(jnp.abs(p)), jnp.ones(2, complex))


def test_what_cannot_be_compiled_in_is_refused():
    with pytest.raises(ValueError, match="only what is hashable"):
        from_loss(lambda p: jnp.sum(p["w"]), {"w": jnp.ones(2), "names": {"a", "b"}})


def test_creating_a_problem_compiles_nothing_and_runs_nothing():
    ran = []

    def loss(w):
        jax.debug.callback(lambda: ran.append(1))
        return jnp.sum(w)

    from_loss(loss, jnp.ones(3))
    jax.effects_barrier()
    assert not ran


class Trainer:
    """A stranger's object with a loss for a method."""

    __hash__ = None

    def __init__(self, x):
        self.x = x

    def loss(self, w):
        return jnp.sum(self.x) * jnp.sum(w)


in_a_dictionary = {"train": LARGE}


def from_global(w):
    return jnp.sum(LARGE) * w


def from_helper(w):
    return 2.0 * from_global(w)


def within(w):
    return jax.vmap(lambda v: v * jnp.sum(LARGE))(w[None])[0]


def by_default(w, x=LARGE):
    return w * jnp.sum(x)


def in_a_closure(x):
    return lambda w: w * jnp.sum(x)


@pytest.mark.parametrize(
    "loss, name",
    [
        (from_global, "LARGE"),
        (from_helper, "LARGE"),
        (within, "LARGE"),
        (jax.jit(from_global), "LARGE"),
        (by_default, "x"),
        (in_a_closure(LARGE), "x"),
        (lambda w: in_a_dictionary["train"].sum() * w, "in_a_dictionary"),
        (functools.partial(lambda x, w: w * jnp.sum(x), LARGE), "argument 0"),
        (functools.partial(lambda w, x: w * jnp.sum(x), x=LARGE), "x"),
        (Trainer(LARGE).loss, "self.x"),
    ],
)
def test_a_large_array_hidden_in_the_loss_is_named_in_a_warning(loss, name):
    with pytest.warns(UserWarning, match=rf"takes {name} \(100,100 numbers\).*pass it as data"):
        from_loss(loss, jnp.array(1.0))


def test_the_warning_points_to_the_line_that_made_the_problem():
    with pytest.warns(UserWarning, match="pass it as data") as seen:
        from_loss(from_global, jnp.array(1.0))
    assert seen[0].filename == __file__


class Pair:
    """Data whose attribute has the name of a large global."""

    LARGE = 1.0


@pytest.mark.parametrize(
    "loss, data",
    [
        (lambda w, data: w * jnp.sum(data), LARGE),
        (lambda w, data: w * jnp.sum(data) * Pair.LARGE, np.ones(3)),
        (lambda w, data: w * jnp.sum(data) * np.sum(X), LARGE),
        (Trainer(X).loss, None),
    ],
)
def test_data_passed_as_data_and_small_arrays_are_not_warned_of(loss, data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_loss(loss, jnp.array(1.0), data)


def test_a_function_that_is_still_being_defined_is_accepted():
    def loss(w):
        return jnp.sum(w) if True else later(w)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_loss(loss, jnp.ones(2))
    later = loss  # the cell of the closure is filled only here
