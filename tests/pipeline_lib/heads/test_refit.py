"""Heads fitted anew against scikit-learn's solutions of the same problems."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.heads.refit import fit_head, refit
from pipeline_lib.labels import KINDS
from tests.pipeline_lib.adapt.sets import CONFIG

NUM, DECAY = 300, 0.01


def problem(kind: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return features ``[N, 64]``, values of which each tenth is missing, and the label's spec."""
    rng = np.random.default_rng(0)
    x_ND = rng.normal(size=(NUM, 64)).astype(np.float32)
    score = x_ND[:, 0] + 0.5 * rng.normal(size=NUM)
    values = (
        (10 * score + 3)
        if kind == "regression"
        else np.array(["a", "b", "c"], dtype=object)[np.digitize(score, [-0.5, 0.5])]
    )
    values = values.astype(object)
    values[::10] = None
    known = np.array([value is not None for value in values])
    return x_ND, values, KINDS[kind].describe(values[known].astype(float) if kind == "regression" else values)


def fitted(kind: str) -> tuple[np.ndarray, np.ndarray, torch.Tensor, MultiTask]:
    x_ND, values, spec = problem(kind)
    torch.manual_seed(0)
    model = MultiTask(from_config({**CONFIG, "size": 16}, 0), {"what": spec, "other": spec})
    assert model.encoder.num_features >= 64
    wide = np.pad(x_ND, ((0, 0), (0, model.encoder.num_features - 64)))
    stored = values if kind != "regression" else values.astype(float)
    fit_head(KINDS[kind], model.head("what"), torch.from_numpy(wide), KINDS[kind].encode(stored, spec), DECAY)
    with torch.no_grad():
        return wide, values, model.head("what")(torch.from_numpy(wide)), model


def test_classes_are_fitted_as_by_logistic_regression() -> None:
    x_ND, values, outputs, _ = fitted("multiclass")
    known = np.array([value is not None for value in values])
    peer = LogisticRegression(C=1 / (known.sum() * DECAY), tol=1e-8, max_iter=10_000).fit(
        x_ND[known], values[known].astype(str)
    )
    np.testing.assert_allclose(outputs.softmax(dim=1).numpy(), peer.predict_proba(x_ND), atol=2e-3)


def test_numbers_are_fitted_as_by_ridge_regression() -> None:
    x_ND, values, outputs, model = fitted("regression")
    known = np.array([value is not None for value in values])
    spec = model.specs["what"]
    y = (values[known].astype(float) - spec["mean"]) / spec["std"]
    peer = Ridge(alpha=known.sum() * DECAY / 2).fit(x_ND[known], y)
    np.testing.assert_allclose(outputs.squeeze(1).numpy(), peer.predict(x_ND), atol=2e-3)


def test_only_the_named_head_is_fitted() -> None:
    x_ND, values, spec = problem("multiclass")
    model = MultiTask(from_config({**CONFIG, "size": 16}, 0), {"what": spec, "other": spec})
    wide = torch.from_numpy(np.pad(x_ND, ((0, 0), (0, model.encoder.num_features - 64))))
    before = copy.deepcopy(model)
    refit(model, ["what"], wide, [KINDS["multiclass"].encode(values, spec)])
    for name, stays in (("other", True), ("what", False)):
        old, new = next(before.head(name).parameters()), next(model.head(name).parameters())
        assert torch.equal(old, new) is stays


def test_labels_that_features_do_not_tell_get_small_weights() -> None:
    x_ND, values, spec = problem("regression")
    model = MultiTask(from_config({**CONFIG, "size": 16}, 0), {"told": spec, "noise": spec})
    wide = torch.from_numpy(np.pad(x_ND, ((0, 0), (0, model.encoder.num_features - 64))))
    encoded = KINDS["regression"].encode(values.astype(float), spec)
    noise = torch.randn(NUM, generator=torch.Generator().manual_seed(0))
    refit(model, ["told", "noise"], wide, [encoded, noise])
    assert model.head("noise").weight.norm() < 0.5 * model.head("told").weight.norm()


@pytest.mark.parametrize("kind", ["ordinal", "binary", "multiclass"])
def test_every_kind_of_head_learns(kind: str) -> None:
    x_ND, values, spec = problem("multiclass")
    if kind == "binary":
        values = np.array([None if value is None else "c" if value == "c" else "a" for value in values], dtype=object)
    spec = KINDS[kind].describe(values)
    torch.manual_seed(0)
    model = MultiTask(from_config({**CONFIG, "size": 16}, 0), {"what": spec})
    wide = torch.from_numpy(np.pad(x_ND, ((0, 0), (0, model.encoder.num_features - 64))))
    encoded = KINDS[kind].encode(values, spec)
    with torch.no_grad():
        before = KINDS[kind].loss(model.head("what")(wide), encoded)
    refit(model, ["what"], wide, [encoded])
    with torch.no_grad():
        assert KINDS[kind].loss(model.head("what")(wide), encoded) < 0.8 * before


@pytest.mark.parametrize("worst", [float("nan"), float("inf"), 1e38])
def test_a_head_stays_where_no_fit_ends_in_numbers(worst: float) -> None:
    _, values, spec = problem("multiclass")
    model = MultiTask(from_config({**CONFIG, "size": 16}, 0), {"what": spec})
    before = copy.deepcopy(model)
    wide = torch.full((NUM, model.encoder.num_features), worst)
    refit(model, ["what"], wide, [KINDS["multiclass"].encode(values, spec)])
    for old, new in zip(before.parameters(), model.parameters(), strict=True):
        assert torch.equal(old, new) or bool(new.isfinite().all())
