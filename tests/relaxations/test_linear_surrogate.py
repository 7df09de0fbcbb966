"""Linear surrogates and their prior: enumeration, controls, and S002."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from labkit import replace, run
from labkit.record import Record
from labkit.relaxations.lattice import all_routes
from labkit.relaxations.linear_surrogate import LinearSurrogate, claim, demo, example, say
from labkit.relaxations.surrogate_prior import Prior, PriorTraining, reached, untrained
from labkit.relaxations.surrogate_prior import say as say_prior


def test_the_claim_holds_on_the_demonstration():
    claim(demo()).check()
    assert "of the answers are the optimum" in say(demo())


def test_the_claim_refuses_a_gradient_with_its_sign_turned():
    columns = demo().columns
    turned = {name.removeprefix("turned."): columns[name] for name in columns if "turned." in name}
    assert not claim(Record(demo().steps, {**columns, **turned})).holds


def test_the_claim_refuses_the_best_answer_seen_for_the_answer_to_c():
    """With the sign turned it is nearly always seen: that would not tell the two apart."""
    columns = {**demo().columns, "turned.reached": demo()["turned.ever_seen"]}
    assert not claim(Record(demo().steps, columns)).holds


def test_the_record_says_of_the_first_instance_what_enumeration_says():
    record = demo()
    c, x, routes = record.last("c"), record.last("x"), all_routes(5)
    np.testing.assert_array_equal(x, routes[(routes @ c).argmin()])
    assert np.isclose(record.last("loss"), record.last("answers")[(routes @ c).argmin()])
    assert record["calls"][1] == 4 * 20  # every fourth row, twenty calls a step
    assert (record["answers"].min() <= record["loss"] + 1e-6).all()


def test_an_untrained_prior_gives_the_start():
    np.testing.assert_array_equal(demo()["c"][0], demo().state.instance.mean[0])
    assert isinstance(example().prior, Prior)
    weights = untrained().weights  # all but the last layer are not zero: it can learn
    assert np.abs(weights[0]["weights"]).min() > 0
    assert not np.any(weights[-1]["weights"])


def test_the_optimum_and_the_share_that_reached_it_are_those_of_enumeration():
    record, routes = demo(), all_routes(5)
    trip, c = record.state.instance, np.asarray(record.state.c)
    m, v = (np.asarray(part, float) @ routes.T for part in (trip.mean, trip.variance))
    late = norm.cdf((m - np.asarray(trip.deadline)[:, None]) / np.sqrt(v))
    np.testing.assert_allclose(record.state.answers, late, atol=1e-5)
    share = ((c @ routes.T).argmin(axis=1) == late.argmin(axis=1)).mean()
    assert np.isclose(record.last("reached"), share)
    least = jnp.array([0.1, 0.2, 0.3])
    assert np.isclose(reached(least + jnp.array([0.0, 1e-7, 1e-3]), least), 2 / 3)


def shares(over, seeds=5, **options):
    """Start and end share of optima [seeds], of 40 instances each."""
    method = LinearSurrogate(instances=40, **options)
    records = [run(replace(method, over), 200, every=200, key=key) for key in range(seeds)]
    return np.array([[*r["reached"], r.last("ever_seen")] for r in records]).T


@pytest.mark.slow
def test_on_five_times_forty_instances_both_gradients_find_more_optima():
    start, perturbed, _ = shares({})
    _, black_box, _ = shares({"gradient": "black box"})
    _, turned, seen = shares({"turn": -1.0})
    print(start.mean(), perturbed.mean(), black_box.mean(), turned.mean(), seen.mean())
    # Seen: 0.52 at the start, 0.90 and 0.82; turned 0, though 0.99 came past the optimum.  A
    # share of 200 deviates by 0.035 at most.
    assert perturbed.mean() > 0.8
    assert black_box.mean() > 0.7
    assert start.mean() < 0.65
    assert turned.max() == 0
    assert seen.mean() > 0.9


@pytest.mark.slow
def test_a_trained_prior_solves_more_at_once_and_from_there_it_takes_fewer_calls():
    for key in range(3):
        prior = run(PriorTraining(), 200, every=20, key=key)
        late = prior["reached"][-5:].mean()  # it comes and goes with the noise of training
        # Seen over three seeds: from 0.52, 0.59, 0.50 to 0.73, 0.70, 0.65 of 100.
        assert late > prior["reached"][0] + 0.1
        assert "Of unseen instances" in say_prior(prior)
        few = {"every": 20, "key": key}
        zero = run(LinearSurrogate(instances=100), 20, **few)
        hybrid = run(LinearSurrogate(instances=100, prior=prior.state.prior), 20, **few)
        print(prior["reached"], zero["reached"], hybrid["reached"])
        assert hybrid.last("reached") > zero.last("reached")


def test_the_example_compiles_the_same_program_for_any_prior():
    prior = jax.tree.map(lambda a: a + 0.01, untrained())
    one, other = example(), LinearSurrogate(prior=prior)
    assert jax.tree.structure(one) == jax.tree.structure(other)
