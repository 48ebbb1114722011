"""Ratios of densities, compared with formulas written out and with a general solver."""

from importlib import import_module

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from pipeline_lib.select.ratios import RATIOS, Pair
from pipeline_lib.select.ratios.kernel import gaussian, median_squared_distance
from pipeline_lib.select.ratios.kmm import LARGEST, kmm, matched, of_mean_one
from pipeline_lib.select.ratios.ulsif import left_out_error, solution, ulsif


def two_normals(num: int = 600, seed: int = 0) -> tuple[Pair, np.ndarray]:
    """Two normals whose ratio is known, and that ratio for the source."""
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(num, 1)), rng.normal(0.7, size=(num, 1))
    return Pair(source, target, 0), (norm.pdf(source, 0.7) / norm.pdf(source)).ravel()


@pytest.mark.parametrize("name", sorted(RATIOS))
def test_the_ratio_of_two_normals_is_found(name: str) -> None:
    pair, truth = two_normals()
    found = RATIOS[name](pair)
    assert found.shape == (600,) and (found >= 0).all()
    # Matching does not need the weights to be smooth, and they are not.
    assert np.corrcoef(found, truth)[0, 1] > (0.5 if name == "kmm" else 0.95)
    # A weighted source has the target's mean.
    mean = np.average(pair.source_NK[:, 0], weights=found)
    assert mean == pytest.approx(pair.target_MK.mean(), abs=0.15)
    assert (RATIOS[name](pair) == found).all()


def test_the_domain_auc_tells_apart_from_alike() -> None:
    rng = np.random.default_rng(0)
    same, apart = rng.normal(size=(200, 3)), rng.normal(size=(200, 3)) + 9
    assert Pair(same[:100], same[100:], 0).domain_auc == pytest.approx(0.5, abs=0.12)
    assert Pair(same, apart, 0).domain_auc > 0.999


def kernels() -> tuple[np.ndarray, np.ndarray]:
    pair, _ = two_normals(40)
    source, target = pair.source_NK, pair.target_MK[:30]
    return gaussian(source, target[:8], 0.5), gaussian(target, target[:8], 0.5)


@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_leaving_one_out_is_what_it_says(ridge: float) -> None:
    source, target = kernels()
    errors = []
    for row in range(30):
        weights = solution(np.delete(source, row, axis=0), np.delete(target, row, axis=0), ridge)
        errors.append((source[row] @ weights) ** 2 / 2 - target[row] @ weights)
    assert left_out_error(source, target, ridge) == pytest.approx(np.mean(errors), rel=1e-9)


def test_the_solution_minimises_the_squared_error_where_nothing_is_cut() -> None:
    source, target = kernels()
    second, first = source.T @ source / len(source), target.mean(axis=0)
    best = minimize(lambda w: w @ second @ w / 2 - first @ w + 5.0 * w @ w / 2, np.zeros(8), tol=1e-12)
    np.testing.assert_allclose(solution(source, target, 5.0), best.x, atol=1e-5)


def test_matched_weights_are_those_of_a_general_solver() -> None:
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(25, 2)), rng.normal(1.0, 0.7, size=(40, 2))
    sigma2 = median_squared_distance(np.concatenate([source, target]))
    kernel, towards = gaussian(source, source, sigma2), gaussian(source, target, sigma2).mean(axis=1)

    def cost(weights: np.ndarray) -> float:
        return weights @ kernel @ weights / 50 - weights @ towards

    mean_one = {"type": "eq", "fun": lambda weights: weights.mean() - 1}
    best = minimize(
        cost, np.ones(25), bounds=[(0, LARGEST)] * 25, constraints=[mean_one], options={"maxiter": 500}, tol=1e-12
    )
    found = matched(kernel, towards)
    assert found.mean() == pytest.approx(1) and found.min() >= 0
    assert cost(found) <= cost(best.x) + 1e-5
    assert cost(found) < cost(np.ones(25)) - 0.01


def test_the_nearest_point_of_mean_one_is_unmoved_by_another_and_bounded() -> None:
    rng = np.random.default_rng(0)
    for spread in (0.1, 1, 100, 1e4):
        x = rng.normal(scale=spread, size=50)
        found = of_mean_one(x)
        assert found.mean() == pytest.approx(1) and found.min() >= 0 and found.max() <= LARGEST
        np.testing.assert_allclose(of_mean_one(found), found, atol=1e-9)
        # No other point of the set is nearer: the gradient points out of it.
        other = of_mean_one(rng.normal(scale=spread, size=50))
        assert (x - found) @ (other - found) <= 1e-6 * max(spread, 1) * 50


def test_a_large_source_is_estimated_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, _ = two_normals()
    monkeypatch.setattr(import_module(kmm.__module__), "PART", 200)
    monkeypatch.setattr(import_module(kmm.__module__), "TARGET", 300)
    monkeypatch.setattr(import_module(ulsif.__module__), "FITTED_ON", 300)
    for name in ("kmm", "ulsif"):
        found = RATIOS[name](Pair(pair.source_NK, pair.target_MK, 1))
        assert np.average(pair.source_NK[:, 0], weights=found) == pytest.approx(pair.target_MK.mean(), abs=0.15)
