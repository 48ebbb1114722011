"""Heads fitted anew against scikit-learn's solutions of the same problems."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.heads.refit import refit
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
    refit(model, ["what"], torch.from_numpy(wide), [KINDS[kind].encode(stored, spec)], DECAY)
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


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_only_the_named_head_is_fitted(kind: str) -> None:
    _, _, spec = problem(kind)
    torch.manual_seed(0)
    start = MultiTask(from_config({**CONFIG, "size": 16}, 0), {"what": spec, "other": spec})
    *_, model = fitted(kind)
    for before, after in zip(start.head("other").parameters(), model.head("other").parameters(), strict=True):
        assert torch.equal(before, after)
    assert not torch.equal(next(start.head("what").parameters()), next(model.head("what").parameters()))


@pytest.mark.parametrize("kind", ["ordinal", "binary", "multiclass"])
def test_every_kind_of_head_learns(kind: str) -> None:
    x_ND, values, spec = problem("multiclass")
    if kind == "binary":
        values = np.array([None if value is None else "b" if value == "b" else "a" for value in values], dtype=object)
    spec = KINDS[kind].describe(values)
    model = MultiTask(from_config({**CONFIG, "size": 16}, 0), {"what": spec})
    wide = torch.from_numpy(np.pad(x_ND, ((0, 0), (0, model.encoder.num_features - 64))))
    encoded = KINDS[kind].encode(values, spec)
    with torch.no_grad():
        before = KINDS[kind].loss(model.head("what")(wide), encoded)
    refit(model, ["what"], wide, [encoded], DECAY)
    with torch.no_grad():
        assert KINDS[kind].loss(model.head("what")(wide), encoded) < 0.8 * before
