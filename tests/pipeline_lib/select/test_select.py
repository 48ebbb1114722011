import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.registry import with_options
from pipeline_lib.data.rows import Images
from pipeline_lib.select import SELECTORS
from pipeline_lib.select.balanced import quotas
from pipeline_lib.select.selection import clipped, effective_sample_size

CHOOSERS = sorted(SELECTORS.keys() - {"everything"})


def images(num: int, seed: int = 0, classes: int = 3) -> np.ndarray:
    """Noise with a light square at one of so many places."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, 60, (num, 12, 12, 1), np.uint8)
    for image, place in zip(drawn, rng.integers(0, classes, num), strict=True):
        image[3 * place : 3 * place + 3, 3 * place : 3 * place + 3] += 150
    return drawn


SOURCE, TARGET = images(90), images(40, seed=1)


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_all_rows_are_kept_without_a_size_with_weights_of_mean_one(name: str) -> None:
    selection = SELECTORS[name](SOURCE, TARGET, None, 0)
    assert list(selection.rows) == list(range(90))
    assert selection.weights.dtype == np.float64 and selection.weights.shape == (90,)
    assert (selection.weights > 0).all() and selection.weights.mean() == pytest.approx(1)


@pytest.mark.parametrize("name", CHOOSERS)
@pytest.mark.parametrize("size", [1, 20, 89, 90])
def test_size_is_kept_in_order_without_repetition_and_follows_the_seed(name: str, size: int) -> None:
    selection = SELECTORS[name](SOURCE, TARGET, size, 0)
    assert len(selection.rows) == size and (np.diff(selection.rows) > 0).all()
    assert (selection.weights > 0).all() and selection.weights.mean() == pytest.approx(1)
    again, other = SELECTORS[name](SOURCE, TARGET, size, 0), SELECTORS[name](SOURCE, TARGET, size, 1)
    assert (again.rows == selection.rows).all() and (again.weights == selection.weights).all()
    assert size != 20 or (other.rows != selection.rows).any()


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_more_than_there_are_is_an_error(name: str) -> None:
    with pytest.raises(UserError, match=r"^size is 91, but .* 90 images"):
        SELECTORS[name](SOURCE, TARGET, 91, 0)


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_options_are_keyword_only_with_defaults(name: str) -> None:
    *first, source = list(inspect.signature(SELECTORS[name]).parameters.values())[:4]
    assert [parameter.name for parameter in (*first, source)] == ["source", "target", "size", "seed"]
    for parameter in list(inspect.signature(SELECTORS[name]).parameters.values())[4:]:
        assert parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty


def test_everything_refuses_to_choose() -> None:
    with pytest.raises(UserError, match="'everything' keeps all 90"):
        SELECTORS["everything"](SOURCE, TARGET, 10, 0)


def test_balanced_evens_out_what_the_source_has_much_of() -> None:
    rare, common = images(30, classes=1), images(300, seed=1, classes=3)
    common[..., :3, :3, :] = 200
    common[:, 6:, 6:] = 255
    source = np.concatenate([common, rare])
    chosen = SELECTORS["balanced"](source, TARGET, 60, 0, num_clusters=2)
    assert (chosen.rows >= 300).sum() == 30
    weighted = SELECTORS["balanced"](source, TARGET, None, 0, num_clusters=2)
    assert weighted.weights[300:].sum() == pytest.approx(weighted.weights[:300].sum())
    clipped_ones = SELECTORS["balanced"](source, TARGET, None, 0, num_clusters=2, max_weight=2.0)
    assert clipped_ones.weights.max() == pytest.approx(2)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("balanced", {"num_clusters": 1}, r"options\.num_clusters is 1, but must be a whole number at least 2"),
        ("balanced", {"max_weight": 1.0}, r"options\.max_weight is 1\.0, but must be a finite number above 1"),
        ("importance", {"max_weight": math.inf}, r"options\.max_weight is inf, but must be a finite number above 1"),
    ],
)
def test_options_out_of_range_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_options(SELECTORS[name], options, "options")


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_two_images_are_a_source(name: str) -> None:
    assert len(SELECTORS[name](SOURCE[:2], TARGET[:2], None, 0).rows) == 2


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_images_on_disk_are_chosen_as_those_in_memory(name: str, tmp_path: Path) -> None:
    np.save(tmp_path / "source.npy", SOURCE)
    np.save(tmp_path / "target.npy", TARGET)
    stored = SELECTORS[name](Images(tmp_path / "source.npy"), Images(tmp_path / "target.npy"), None, 0)
    selection = SELECTORS[name](SOURCE, TARGET, None, 0)
    np.testing.assert_array_equal(stored.rows, selection.rows)
    np.testing.assert_array_equal(stored.weights, selection.weights)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_balanced_copes_with_fewer_kinds_than_clusters() -> None:
    source = np.concatenate([np.zeros((20, 8, 8, 1), np.uint8), np.full((20, 8, 8, 1), 99, np.uint8)])
    assert len(SELECTORS["balanced"](source, source, 10, 0, num_clusters=5).rows) == 10


@pytest.mark.parametrize("available", [[5, 5, 5], [1, 2, 30], [0, 4, 4], [7]])
def test_quotas_are_as_even_as_can_be(available: list[int]) -> None:
    for wanted in range(sum(available) + 1):
        quota = quotas(np.array(available), wanted)
        assert quota.sum() == wanted and (quota <= available).all()
        short = quota < available
        if short.any():
            assert quota.max() - quota[short].min() <= 1


def test_importance_favours_what_looks_like_the_target() -> None:
    like = np.random.default_rng(0).random(400) < 0.25
    source = np.random.default_rng(1).normal(100, 25, (400, 8, 8, 1))
    target = np.random.default_rng(2).normal(100, 25, (150, 8, 8, 1))
    source[like, :2], target[:, :2] = source[like, :2] + 12, target[:, :2] + 12
    sets = [values.clip(0, 255).astype(np.uint8) for values in (source, target)]
    weighted = SELECTORS["importance"](*sets, None, 0)
    assert weighted.weights[like].mean() > 2 * weighted.weights[~like].mean()
    assert weighted.weights.max() <= 10 + 1e-9
    chosen = SELECTORS["importance"](*sets, 100, 0)
    assert like[chosen.rows].mean() > 0.4 and (chosen.weights == 1).all()


def test_importance_says_when_its_weights_mean_nothing() -> None:
    apart = SELECTORS["importance"](SOURCE, 255 - TARGET, None, 0)
    assert apart.metrics["weights_trusted"] == 0 and apart.metrics["domain_auc"] > 0.99
    assert "mean little" in apart.warnings[0]
    same = SELECTORS["importance"](np.concatenate([SOURCE] * 5), images(300, seed=5), None, 0)
    assert same.metrics["weights_trusted"] == 1 and same.warnings == ()
    with pytest.raises(UserError, match="needs two images"):
        SELECTORS["importance"](SOURCE, TARGET[:1], None, 0)


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
