import numpy as np

from pipeline_lib.stats.folds import folds_of, in_every_training


def test_a_key_for_each_image_is_a_stratified_k_fold() -> None:
    classes = np.repeat(["a", "b", "c"], [50, 23, 7])
    folds = folds_of(classes, np.arange(80), 0, 5)
    for name, most in (("a", 0), ("b", 1), ("c", 1)):
        sizes = np.bincount(folds[classes == name], minlength=5)
        assert sizes.max() - sizes.min() <= most
    assert in_every_training(classes, folds).all()
    assert (folds != folds_of(classes, np.arange(80), 1, 5)).any()
    np.testing.assert_array_equal(folds, folds_of(classes, np.arange(80), 0, 5))


def test_images_of_one_key_are_in_one_fold_and_rare_classes_are_spread() -> None:
    keys = np.random.default_rng(0).integers(40, size=600)
    classes = np.where(keys < 2, "rare", "common")
    folds = folds_of(classes, keys.astype(str), 0, 5)
    assert all(len(set(folds[keys == key])) == 1 for key in set(keys))
    assert len(set(folds[classes == "rare"])) == 2
    assert in_every_training(classes, folds).all()


def test_a_class_of_one_key_is_missing_when_it_is_held_out() -> None:
    classes, keys = np.array(list("aaabbb")), np.array([0, 0, 0, 1, 2, 3])
    assert in_every_training(classes, folds_of(classes, keys, 0, 2)).tolist() == [False] * 3 + [True] * 3
    assert in_every_training(classes[:0], keys[:0]).shape == (0,)
