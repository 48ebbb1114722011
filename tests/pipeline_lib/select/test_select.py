import inspect
import math
from typing import Any

import numpy as np
import pytest

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.registry import with_options
from pipeline_lib.select import BLIND, LABELLED, SELECTORS, Selection
from pipeline_lib.select.ratios import RATIOS
from pipeline_lib.select.selection import clipped, least
from pipeline_lib.select.shares import proportional, quotas, random_parts
from pipeline_lib.stats.shift import effective_sample_size

CHOOSERS = sorted(SELECTORS.keys() - {"everything"})
# What follows from the images alone, whatever the seed.
CERTAIN = {"k_center", "nearest"}


def clouds(num: int, seed: int = 0, kinds: int = 3, dims: int = 6) -> np.ndarray:
    """Points around as many centres as there are kinds, in turn, float32 ``[num, dims]``."""
    points = np.random.default_rng(seed).normal(size=(num, dims))
    points[np.arange(num), np.arange(num) % kinds] += 6
    return points.astype(np.float32)


SOURCE, TARGET = clouds(90), clouds(40, seed=1)
CLASSES = np.array(["one", "two", "three"])[np.arange(90) % 3]


def choose(
    name: str,
    source: np.ndarray = SOURCE,
    target: np.ndarray = TARGET,
    size: int | None = None,
    seed: int = 0,
    **more: Any,
) -> Selection:
    if name in LABELLED:
        more.setdefault("classes_N", CLASSES[np.arange(len(source)) % 90])
    return SELECTORS[name](source, target, size, seed, **more)


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_all_rows_are_kept_without_a_size_with_weights_of_mean_one(name: str) -> None:
    selection = choose(name)
    assert list(selection.rows) == list(range(90))
    assert selection.weights.dtype == np.float64 and selection.weights.shape == (90,)
    assert (selection.weights > 0).all() and selection.weights.mean() == pytest.approx(1)


@pytest.mark.parametrize("name", CHOOSERS)
@pytest.mark.parametrize("size", [1, 20, 89, 90])
def test_size_is_kept_in_order_without_repetition_and_follows_the_seed(name: str, size: int) -> None:
    selection = choose(name, size=size)
    assert selection.rows.dtype == np.int64
    assert len(selection.rows) == size and (np.diff(selection.rows) > 0).all()
    assert (selection.weights > 0).all() and selection.weights.mean() == pytest.approx(1)
    again, other = choose(name, size=size), choose(name, size=size, seed=1)
    assert (again.rows == selection.rows).all() and (again.weights == selection.weights).all()
    if size == 20 and name not in {*CERTAIN, "density_ratio", "typicality"}:
        assert (other.rows != selection.rows).any()
    if name in CERTAIN:
        assert (other.rows == selection.rows).all()


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_more_than_there_are_is_an_error(name: str) -> None:
    with pytest.raises(UserError, match=r"^size is 91, but .* 90 images"):
        choose(name, size=91)


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_options_are_keyword_only_with_defaults(name: str) -> None:
    parameters = list(inspect.signature(SELECTORS[name]).parameters.values())
    assert [parameter.name for parameter in parameters[:4]] == ["source_ND", "target_MD", "size", "seed"]
    given = {"classes_N"} if name in LABELLED else set()
    for parameter in parameters[4:]:
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert (parameter.default is parameter.empty) == (parameter.name in given)


@pytest.mark.parametrize("name", sorted(BLIND))
def test_what_looks_at_no_image_needs_no_features(name: str) -> None:
    size = None if name == "everything" else 30
    nothing = choose(name, np.empty((90, 0), np.float32), np.empty((40, 0), np.float32), size)
    np.testing.assert_array_equal(nothing.rows, choose(name, size=size).rows)


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_two_images_are_a_source(name: str) -> None:
    assert len(choose(name, SOURCE[:2], TARGET[:2]).rows) == 2


@pytest.mark.filterwarnings("ignore:Number of distinct clusters", "ignore:invalid value")
@pytest.mark.parametrize("name", CHOOSERS)
def test_images_that_are_all_equal_are_chosen_from(name: str) -> None:
    selection = choose(name, np.ones((30, 4), np.float32), np.ones((10, 4), np.float32), 12)
    assert len(np.unique(selection.rows)) == 12 and np.isfinite(selection.weights).all()


@pytest.mark.parametrize("name", ["nearest", "density_ratio", "importance"])
def test_planted_images_of_the_target_s_kind_are_found(name: str) -> None:
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(400, 6)), rng.normal(size=(150, 6))
    like = rng.random(400) < 0.25
    source[like, 0] += 8
    target[:, 0] += 8
    chosen = choose(name, source.astype(np.float32), target.astype(np.float32), int(like.sum()))
    assert like[chosen.rows].mean() > (0.9 if name != "importance" else 0.8)
    assert (chosen.weights == 1).all()


def test_nearest_is_by_the_mean_distance_to_several_and_says_it() -> None:
    distances = np.sort(np.linalg.norm(SOURCE[:, None] - TARGET, axis=2), axis=1)
    for neighbors in (1, 7, 100):
        mean = distances[:, :neighbors].mean(axis=1)
        chosen = choose("nearest", size=30, neighbors=neighbors)
        assert set(chosen.rows) == set(np.argsort(mean)[:30])
        assert chosen.metrics["mean_distance"] == pytest.approx(np.sort(mean)[:30].mean(), rel=1e-5)
    with pytest.raises(UserError, match="the target has no image"):
        choose("nearest", target=TARGET[:0])


def test_cluster_balanced_evens_out_what_the_source_has_much_of() -> None:
    source = np.concatenate([clouds(300, kinds=1), -clouds(30, seed=1, kinds=1)])
    chosen = choose("cluster_balanced", source, size=60, num_clusters=2)
    assert (chosen.rows >= 300).sum() == 30
    weighted = choose("cluster_balanced", source, num_clusters=2)
    assert weighted.weights[300:].sum() == pytest.approx(weighted.weights[:300].sum())
    assert choose("cluster_balanced", source, num_clusters=2, max_weight=2.0).weights.max() == pytest.approx(2)


def test_class_balanced_and_stratified_go_by_the_classes() -> None:
    classes = np.array(["rare"] * 9 + ["often"] * 81)
    even = choose("class_balanced", size=18, classes_N=classes)
    assert (even.rows < 9).sum() == 9 and (even.weights == 1).all()
    weighted = choose("class_balanced", classes_N=classes)
    assert weighted.weights[:9].sum() == pytest.approx(weighted.weights[9:].sum())
    for size in (10, 20, 90):
        assert (choose("stratified", size=size, classes_N=classes).rows < 9).sum() == size // 10


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_clusters_cope_with_fewer_kinds_than_clusters() -> None:
    source = np.concatenate([np.zeros((20, 4), np.float32), np.ones((20, 4), np.float32)])
    assert len(choose("cluster_balanced", source, source, 10, num_clusters=5).rows) == 10


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cluster_balanced", {"num_clusters": 1}, r"num_clusters is 1, but must be a whole number at least 2"),
        ("cluster_balanced", {"max_weight": 1.0}, r"max_weight is 1\.0, but must be a finite number above 1"),
        ("importance", {"max_weight": math.inf}, r"max_weight is inf, but must be a finite number above 1"),
        ("importance", {"by": "kmn"}, r"by is 'kmn', but must be one of classifier, ulsif, kmm"),
        ("class_balanced", {"classes_N": 3}, r"no option 'classes_N'"),
        ("nearest", {"neighbors": 0}, r"neighbors is 0, but must be a whole number at least 1"),
    ],
)
def test_options_out_of_range_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_options(SELECTORS[name], options, "options")


@pytest.mark.parametrize("available", [[5, 5, 5], [1, 2, 30], [0, 4, 4], [7]])
def test_quotas_are_as_even_and_proportions_as_exact_as_can_be(available: list[int]) -> None:
    for wanted in range(sum(available) + 1):
        quota = quotas(np.array(available), wanted)
        assert quota.sum() == wanted and (quota <= available).all()
        short = quota < available
        if short.any():
            assert quota.max() - quota[short].min() <= 1
        share = proportional(np.array(available), wanted)
        assert share.sum() == wanted and (share <= available).all()
        assert (np.abs(share - np.array(available) * wanted / sum(available)) < 1).all()


@pytest.mark.parametrize(("num", "most"), [(10, 10), (10, 3), (1, 5)])
def test_random_parts_hold_every_row_once(num: int, most: int) -> None:
    parts = random_parts(num, most, 0)
    assert sorted(np.concatenate(parts)) == list(range(num)) and len(parts) == -(-num // most)
    assert max(map(len, parts)) <= most


def test_the_first_of_equal_scores_are_the_least() -> None:
    assert least(np.array([2.0, 1.0, 1.0, 1.0, 0.0]), 3).tolist() == [1, 2, 4]


@pytest.mark.parametrize("by", sorted(RATIOS))
def test_importance_favours_what_looks_like_the_target(by: str) -> None:
    like = np.random.default_rng(0).random(400) < 0.25
    source = np.random.default_rng(1).normal(size=(400, 4)).astype(np.float32)
    target = np.random.default_rng(2).normal(size=(150, 4)).astype(np.float32)
    source[like, 0], target[:, 0] = source[like, 0] + 1.5, target[:, 0] + 1.5
    weighted = choose("importance", source, target, by=by)
    assert weighted.weights[like].mean() > 1.5 * weighted.weights[~like].mean()
    assert weighted.weights.max() <= 10 + 1e-9
    assert weighted.metrics["weights_trusted"] == 1
    chosen = choose("importance", source, target, 100, by=by)
    assert like[chosen.rows].mean() > 0.35 and (chosen.weights == 1).all()


@pytest.mark.parametrize("by", sorted(RATIOS))
def test_importance_says_when_its_weights_mean_nothing(by: str) -> None:
    apart = choose("importance", SOURCE, TARGET + 20, by=by)
    assert apart.metrics["weights_trusted"] == 0 and apart.metrics["domain_auc"] > 0.99
    assert "mean little" in apart.warnings[0]
    same = choose("importance", clouds(450), clouds(300, seed=5), by=by)
    assert same.metrics["weights_trusted"] == 1 and same.warnings == ()
    with pytest.raises(UserError, match="needs two images"):
        choose("importance", SOURCE, TARGET[:1], by=by)


@pytest.mark.parametrize("max_weight", [1.5, 3.0, 10.0])
def test_clipping_bounds_the_weights_at_a_mean_of_one_and_keeps_the_order(max_weight: float) -> None:
    for seed in range(5):
        raw = np.random.default_rng(seed).lognormal(sigma=4, size=200)
        weights = clipped(raw, max_weight)
        assert weights.max() <= max_weight * (1 + 1e-9) and weights.mean() == pytest.approx(1)
        assert (np.diff(weights[np.argsort(raw)]) >= 0).all()
        uncut = weights < weights.max()
        np.testing.assert_allclose((weights / raw)[uncut], (weights / raw)[uncut][0])


def test_clipping_leaves_weights_below_the_bound_alone() -> None:
    raw = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(clipped(raw, 2), raw / 2)
    np.testing.assert_allclose(clipped(np.ones(5), 1.1), np.ones(5))


@pytest.mark.parametrize(("weights", "size"), [([1, 1, 1, 1], 4), ([1, 0, 0, 0], 1), ([2, 2, 0, 0], 2)])
def test_effective_sample_size_counts_equal_weights(weights: list[Any], size: int) -> None:
    assert effective_sample_size(np.array(weights, float)) == pytest.approx(size)
