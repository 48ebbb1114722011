import numpy as np
import pytest

from pipeline_lib.core.errors import UserError
from pipeline_lib.transfer.evaluate import probes
from pipeline_lib.transfer.probes import LENGTH, draw_labels, probe, probe_features


@pytest.fixture
def target():
    """Features that tell three classes apart, their labels, train and test rows."""
    rng = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], 30)
    x = np.eye(3)[classes] + 0.05 * rng.normal(size=(90, 3))
    rows = rng.permutation(90)
    return x.astype(np.float32), np.array(list("abc"), dtype=object)[classes], rows[:60], rows[60:]


def test_draws_hold_so_many_labels_of_each_class_and_grow(target):
    _, truth, train, _ = target
    drawn = draw_labels(truth, train, [5, 1], 4, seed=0, label="kind")
    assert {amount: len(draws) for amount, draws in drawn.items()} == {1: 4, 5: 4}
    for few, many in zip(drawn[1], drawn[5], strict=True):
        assert sorted(truth[few]) == list("abc")
        assert sorted(truth[many]) == sorted("abc" * 5)
        assert set(few) <= set(many) <= set(train)
    assert len({tuple(rows) for rows in drawn[5]}) == 4


def test_labels_that_are_missing_are_never_drawn(target):
    _, truth, train, _ = target
    truth[train[:20]] = None
    drawn = draw_labels(truth, train, [3], 5, seed=0, label="kind")
    assert not {row for rows in drawn[3] for row in rows} & set(train[:20])


def test_a_class_with_too_few_labels_is_named_with_its_count_and_the_way_out(target):
    _, truth, train, _ = target
    truth[train[truth[train] == "b"][3:]] = None
    with pytest.raises(UserError, match=r"'b' of the label 'kind' has 3 .* the 5 that transfer\.labels_per_class"):
        draw_labels(truth, train, [1, 5], 2, seed=0, label="kind")


def test_one_class_only_is_refused(target):
    _, truth, train, _ = target
    truth[:] = "b"
    with pytest.raises(UserError, match="'kind' has only the class 'b'"):
        draw_labels(truth, train, [1], 2, seed=0, label="kind")


def test_a_probe_is_right_where_classes_are_apart(target):
    x, truth, train, test = target
    draws = draw_labels(truth, train, [5], 3, seed=0, label="kind")[5]
    right = probe(probe_features(x, train), truth, draws, test)
    assert right.shape == (3, 30)
    assert right.mean() > 0.95


def test_a_class_that_cannot_be_learnt_is_wrong_and_a_missing_label_counts_nothing(target):
    x, truth, train, test = target
    truth[test[0]], truth[test[1]] = "new", None
    draws = draw_labels(truth, train, [5], 3, seed=0, label="kind")[5]
    right = probe(probe_features(x, train), truth, draws, test)
    assert right[:, 0].tolist() == [0, 0, 0]
    assert np.isnan(right[:, 1]).all()
    assert not np.isnan(right[:, 2:]).any()


def test_the_test_split_has_no_part_in_what_a_probe_sees(target):
    x, _, train, test = target
    seen = probe_features(x, train)
    assert np.square(seen[train]).sum(axis=1).mean() == pytest.approx(LENGTH**2)
    changed = x.copy()
    changed[test] += 7
    np.testing.assert_array_equal(probe_features(changed, train)[train], seen[train])


def test_probe_features_do_not_depend_on_the_scale_of_the_representation(target):
    x, _, train, _ = target
    np.testing.assert_allclose(probe_features(1000 * x, train), probe_features(x, train), rtol=1e-4, atol=1e-6)
    assert np.isfinite(probe_features(np.ones_like(x), train)).all()


def test_every_representation_sees_the_same_labels(target):
    x, truth, train, test = target
    draws = draw_labels(truth, train, [1, 5], 3, seed=0, label="kind")
    rows, right = probes({"one": x, "same": x.copy()}, truth, draws, train, test, resamples=100, seed=0)
    for amount in (1, 5):
        np.testing.assert_array_equal(right["one", amount], right["same", amount])
    assert [(row["representation"], row["labels_per_class"]) for row in rows] == list(right)
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in rows)


@pytest.mark.parametrize("split", ["train", "test"])
def test_without_labels_to_learn_or_to_test_there_are_no_probes(split, target):
    x, truth, train, test = target
    truth[train if split == "train" else test] = None
    draws = draw_labels(truth, train, [1], 3, seed=0, label="kind")
    assert probes({"x": x}, truth, draws, train, test, resamples=100, seed=0) == ([], {})
