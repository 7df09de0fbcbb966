"""Every table: parts disjoint, fixed, stratified, standardised on the training part alone."""

import numpy as np
import pytest
from sklearn import datasets

from labkit.data import breast_cancer, diabetes, digit_images, digits, iris, linnerud, wine
from labkit.data.tables import standardized


LABELLED = {
    digits: datasets.load_digits,
    iris: datasets.load_iris,
    wine: datasets.load_wine,
    breast_cancer: datasets.load_breast_cancer,
}
NUMBERS = {diabetes: datasets.load_diabetes, linnerud: datasets.load_linnerud}
EVERY = [*LABELLED, *NUMBERS]


@pytest.mark.parametrize("table", EVERY)
def test_the_two_parts_together_are_the_table(table):
    split = table()
    raw = (LABELLED | NUMBERS)[table]()
    assert len(split.x) + len(split.x_test) == len(raw.data)
    assert len(split.x) == len(split.y)
    assert len(split.x_test) == len(split.y_test)
    assert split.x.shape[1] == len(split.features) == raw.data.shape[1]
    if table is not diabetes:  # whose raw numbers the loader gives only when asked
        # Standardised columns are an affine image of the raw ones: same order within each.
        together = np.concatenate([split.x, split.x_test])
        for column, old in zip(together.T, raw.data.T, strict=True):
            counts = np.unique(column, return_counts=True)[1], np.unique(old, return_counts=True)[1]
            np.testing.assert_array_equal(*counts)


def test_the_tumours_have_the_names_that_scikit_learn_gives_them():
    split, theirs = breast_cancer(), datasets.load_breast_cancer()
    assert split.features == tuple(theirs.feature_names)
    assert split.targets == tuple(theirs.target_names)
    assert (split.y == 1).sum() + (split.y_test == 1).sum() == (theirs.target == 1).sum()


@pytest.mark.parametrize("table", EVERY)
def test_a_split_is_fixed_and_moves_with_its_seed(table):
    first, again, other = table(), table(), table(seed=1)
    np.testing.assert_array_equal(first.x, again.x)
    np.testing.assert_array_equal(first.y_test, again.y_test)
    assert not np.array_equal(first.y, other.y)


@pytest.mark.parametrize("table", [iris, wine, breast_cancer])
def test_no_row_is_in_both_parts(table):
    split = table()
    # These tables have repeated rows of their own; more than those would be a leak.
    raw = LABELLED[table]().data
    repeated = len(raw) - len(np.unique(raw, axis=0))
    together = np.concatenate([split.x, split.x_test])
    assert len(together) - len(np.unique(together, axis=0)) == repeated


@pytest.mark.parametrize("table", LABELLED)
def test_the_classes_have_the_same_shares_in_both_parts(table):
    split = table()
    assert split.y.dtype == np.int32
    assert len(split.targets) == split.y.max() + 1
    for label in range(len(split.targets)):
        expected = 0.2 * ((split.y == label).sum() + (split.y_test == label).sum())
        # Whole samples cannot be shared out exactly.
        assert abs((split.y_test == label).sum() - expected) <= 1.0


@pytest.mark.parametrize("table", EVERY)
def test_features_are_standardised_on_the_training_part_alone(table):
    split = table()
    assert split.x.dtype == split.x_test.dtype == np.float32
    assert np.isfinite(split.x_test).all()
    varies = np.ptp(split.x, axis=0) > 0
    # 1,437 float32 numbers: the mean of rounded ones is zero to about their precision.
    np.testing.assert_allclose(split.x.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(split.x.std(axis=0)[varies], 1.0, atol=1e-5)
    assert not np.allclose(split.x_test.mean(axis=0), 0.0, atol=1e-3)


@pytest.mark.parametrize("table", NUMBERS)
def test_targets_of_a_regression_are_standardised_columns(table):
    split = table()
    assert split.y.shape == (len(split.x), len(split.targets))
    np.testing.assert_allclose(split.y.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(split.y.std(axis=0), 1.0, atol=1e-5)


def test_a_constant_feature_is_centred_and_not_divided():
    train, test = standardized(np.full((3, 1), 0.1), np.array([[0.1], [2.1]]))
    np.testing.assert_allclose(train, 0.0, atol=1e-7)
    np.testing.assert_allclose(test, [[0.0], [2.0]], atol=1e-6)


def test_a_smaller_sample_is_the_beginning_of_a_larger_one():
    few, many = digits(30), digits(300)
    np.testing.assert_array_equal(few.x, many.x[:30])
    np.testing.assert_array_equal(few.y, many.y[:30])
    assert many.x.shape == (300, 64)


@pytest.mark.parametrize("samples", [-1, 0, 1, 1439])
def test_too_few_or_too_many_samples_are_refused(samples):
    with pytest.raises(ValueError, match=rf"samples = {samples} is refused; accepted: 2 to 1438"):
        digits(samples)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_test_share_that_leaves_a_part_empty_is_refused(share):
    with pytest.raises(ValueError, match=r"test = .* is refused"):
        iris(test=share)


def test_the_pictures_of_the_digits_are_the_table_before_it_is_standardised():
    images, labels = digit_images()
    whole = datasets.load_digits()
    np.testing.assert_array_equal(images, whole.images.astype(np.float32) / 16)
    np.testing.assert_array_equal(labels, whole.target)
