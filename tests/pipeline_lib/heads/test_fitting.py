"""Heads fitted at every penalty, against scikit-learn's solutions of the same problems."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor
from torch.nn import functional as F

from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.heads import fitting
from pipeline_lib.heads.fitting import GIVEN, PENALTIES, choose_penalties, fit_heads, has_value, held_out_folds
from pipeline_lib.heads.minimise import minimise
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import MISSING
from tests.pipeline_lib.adapt.sets import CONFIG
from tests.pipeline_lib.labels.examples import spec_of, values_of

NUM = 300
HELD_OUT = torch.arange(NUM) % 5 == 0
FOLDS = HELD_OUT.long() - 1  # a fifth is held out, once


def problem(kind: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return features ``[N, 64]`` of unequal spread, off centre, values, each tenth of them missing, and the spec."""
    rng = np.random.default_rng(0)
    x_ND = (rng.normal(size=(NUM, 64)) * np.geomspace(10, 0.1, 64) + 3).astype(np.float32)
    score = 0.1 * (x_ND[:, 0] - 3) + 0.5 * rng.normal(size=NUM)
    names = np.array(["a", "b", "c"], dtype=object)[np.digitize(score, [-0.5, 0.5])]
    if kind == "binary":
        names[names == "b"] = "a"
    values = (10 * score + 3).astype(object) if kind == "regression" else names
    values[::10] = None
    return x_ND, values.astype(float) if kind == "regression" else values, spec_of(kind, values)


def make_model(specs: dict[str, Any]) -> MultiTask:
    torch.manual_seed(0)
    return MultiTask(from_config({**CONFIG, "size": 16}, 0), specs)


def widened(model: MultiTask, x_ND: np.ndarray) -> Tensor:
    """Return the features with as many columns as the model's encoder puts out, the further ones zero."""
    return torch.from_numpy(np.pad(x_ND, ((0, 0), (0, model.encoder.num_features - x_ND.shape[1]))))


def fitted(
    kind: str, class_weights: dict[str, Tensor] | None = None
) -> tuple[np.ndarray, np.ndarray, float, Tensor, dict[str, Any]]:
    """Return features, values, the price of half the squared weights, the head's outputs, and the spec."""
    x_ND, values, spec = problem(kind)
    model = make_model({"what": spec})
    wide_ND = widened(model, x_ND)
    given = (model, ["what"], wide_ND, [KINDS[kind].encode(values, spec)])
    penalties = choose_penalties(*given, FOLDS, class_weights)
    fit_heads(*given, penalties, class_weights)
    with torch.no_grad():
        price = penalties["what"] * float(wide_ND.var(dim=0, correction=0).mean())
        return x_ND, values, price, model.head("what")(wide_ND), spec


@pytest.mark.parametrize("weights", [None, (0.3, 2.5, 1.2)])
@pytest.mark.parametrize("kind", ["multiclass", "binary"])
def test_classes_are_fitted_as_by_logistic_regression(kind: str, weights: tuple[float, ...] | None) -> None:
    classes = ["a", "c"] if kind == "binary" else ["a", "b", "c"]
    counts = dict(zip(classes, weights, strict=False)) if weights else None
    given = {"what": torch.tensor(list(counts.values()))} if counts else None
    x_ND, values, price, outputs, _ = fitted(kind, given)
    known = np.array([value is not None for value in values])
    # Of two classes scikit-learn fits one score where a softmax has two, whose squares add up to half of its.
    price = price / 2 if kind == "binary" else price
    peer = LogisticRegression(C=1 / (known.sum() * price), tol=1e-8, max_iter=10_000, class_weight=counts)
    peer.fit(x_ND[known].astype(np.float64), values[known].astype(str))
    np.testing.assert_allclose(outputs.softmax(dim=1).numpy(), peer.predict_proba(x_ND), atol=2e-3)


def test_numbers_are_fitted_as_by_ridge_regression() -> None:
    x_ND, values, price, outputs, spec = fitted("regression")
    known = ~np.isnan(values)
    peer = Ridge(alpha=known.sum() * price / 2).fit(x_ND[known], (values[known] - spec["mean"]) / spec["std"])
    np.testing.assert_allclose(outputs.squeeze(1).numpy(), peer.predict(x_ND), atol=2e-3)


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_is_fitted_to_where_no_slope_is_left(kind: str) -> None:
    values = values_of(kind, NUM, missing=0.2)
    spec = spec_of(kind, values)
    model = make_model({"what": spec})
    features_ND = torch.randn(NUM, model.encoder.num_features, generator=torch.Generator().manual_seed(1))
    encoded = KINDS[kind].encode(values, spec)
    fit_heads(model, ["what"], features_ND, [encoded], {"what": 0.1})
    head, variance = model.head("what"), float(features_ND.var(dim=0, correction=0).mean())
    loss = KINDS[kind].loss(head(features_ND), encoded)
    price = sum(0.1 * variance / 2 * one.square().sum() for one in head.parameters() if one.ndim > 1)
    (loss + price).backward()
    assert max(float(one.grad.abs().max()) for one in head.parameters() if one.grad is not None) < 2e-3
    assert loss.isfinite()


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_losses_of_many_heads_are_those_of_each(kind: str) -> None:
    values = values_of(kind, 40, missing=0.3)
    spec = spec_of(kind, values)
    encoded = KINDS[kind].encode(values, spec)
    outputs_AKB = torch.randn(3, KINDS[kind].head(4, spec)(torch.zeros(1, 4)).shape[1], 40)
    expected = torch.stack([KINDS[kind].loss(outputs_KB.T, encoded) for outputs_KB in outputs_AKB])
    torch.testing.assert_close(KINDS[kind].losses(outputs_AKB, encoded), expected)


def test_the_penalty_is_the_best_of_all_on_what_is_held_out() -> None:
    x_ND, values, spec = problem("multiclass")
    encoded = KINDS["multiclass"].encode(values, spec)
    losses = {}
    for penalty in PENALTIES:
        model = make_model({"what": spec})
        wide_ND = widened(model, x_ND)
        # Features of the other rows alone would have another scale, and so the penalty another meaning.
        hidden = torch.where(HELD_OUT, MISSING, encoded)
        fit_heads(model, ["what"], wide_ND, [hidden], {"what": penalty})
        with torch.no_grad():
            losses[penalty] = float(KINDS["multiclass"].loss(model.head("what")(wide_ND[HELD_OUT]), encoded[HELD_OUT]))
    best = min(losses, key=lambda one: losses[one])
    found = choose_penalties(make_model({"what": spec}), ["what"], wide_ND, [encoded], FOLDS)
    assert losses[found["what"]] - losses[best] < 1e-4
    assert PENALTIES[0] < best < PENALTIES[-1]


def test_folds_take_turns_and_other_rows_are_never_held_out() -> None:
    x_ND, values, spec = problem("multiclass")
    encoded = KINDS["multiclass"].encode(values, spec)
    model = make_model({"what": spec})
    wide_ND, folds_N = widened(model, x_ND), torch.arange(NUM) % 4 - 1
    totals = torch.zeros(len(PENALTIES))
    for fold in range(3):
        for place, penalty in enumerate(PENALTIES):
            one = make_model({"what": spec})
            fit_heads(one, ["what"], wide_ND, [torch.where(folds_N == fold, MISSING, encoded)], {"what": penalty})
            with torch.no_grad():
                outputs = one.head("what")(wide_ND)
            totals[place] += F.cross_entropy(
                outputs[folds_N == fold], encoded[folds_N == fold], ignore_index=MISSING, reduction="sum"
            )
    found = choose_penalties(model, ["what"], wide_ND, [encoded], folds_N)["what"]
    assert totals[PENALTIES.index(found)] - totals.min() < 1e-2


@pytest.mark.parametrize("folds", [torch.full((NUM,), -1), torch.zeros(NUM, dtype=torch.int64)])
def test_without_two_parts_the_penalty_is_given(folds: Tensor) -> None:
    x_ND, values, spec = problem("multiclass")
    model = make_model({"what": spec})
    encoded = KINDS["multiclass"].encode(values, spec)
    assert choose_penalties(model, ["what"], widened(model, x_ND), [encoded], folds) == {"what": GIVEN}


@pytest.mark.parametrize("num", [30, 3000])
def test_folds_tear_no_group(num: int) -> None:
    keys_N = np.array([f"key {row // 3}" for row in range(num)])
    folds_N = held_out_folds(keys_N, 0).numpy()
    assert all(len(set(folds_N[keys_N == key])) == 1 for key in np.unique(keys_N))
    shares = {fold: np.mean(folds_N == fold) for fold in set(folds_N.tolist())}
    assert shares == pytest.approx(dict.fromkeys(range(5), 0.2) if num == 30 else {-1: 0.8, 0: 0.2}, abs=0.01)
    assert not np.array_equal(folds_N, held_out_folds(keys_N, 1).numpy())


def test_only_the_named_head_is_fitted() -> None:
    x_ND, values, spec = problem("multiclass")
    model = make_model({"what": spec, "other": spec})
    before = copy.deepcopy(model)
    given = (model, ["what"], widened(model, x_ND), [KINDS["multiclass"].encode(values, spec)])
    fit_heads(*given, choose_penalties(*given, FOLDS))
    for name, stays in (("other", True), ("what", False)):
        assert torch.equal(before.head(name).weight, model.head(name).weight) is stays


def test_labels_that_features_do_not_tell_get_small_weights() -> None:
    x_ND, values, spec = problem("regression")
    model = make_model({"told": spec, "noise": spec})
    noise = torch.randn(NUM, generator=torch.Generator().manual_seed(0))
    encoded = [KINDS["regression"].encode(values, spec), noise]
    given = (model, ["told", "noise"], widened(model, x_ND), encoded)
    fit_heads(*given, choose_penalties(*given, FOLDS))
    assert model.head("noise").weight.norm() < 0.5 * model.head("told").weight.norm()


@pytest.mark.parametrize("worst", [float("nan"), float("inf"), 1e38, 5.0])
def test_features_that_are_no_numbers_or_all_equal_leave_heads_of_numbers(worst: float) -> None:
    _, values, spec = problem("multiclass")
    model = make_model({"what": spec})
    before = copy.deepcopy(model)
    wide = torch.full((NUM, model.encoder.num_features), worst)
    given = (model, ["what"], wide, [KINDS["multiclass"].encode(values, spec)])
    fit_heads(*given, choose_penalties(*given, FOLDS))
    for old, new in zip(before.parameters(), model.parameters(), strict=True):
        assert torch.equal(old, new) or bool(new.isfinite().all())


def test_the_scale_of_features_changes_no_answer() -> None:
    x_ND, values, spec = problem("multiclass")
    answers = []
    for scale in (1.0, 1000.0):
        model = make_model({"what": spec})
        wide_ND = widened(model, x_ND) * scale
        given = (model, ["what"], wide_ND, [KINDS["multiclass"].encode(values, spec)])
        fit_heads(*given, choose_penalties(*given, FOLDS))
        answers.append(model.head("what")(wide_ND).softmax(dim=1))
    torch.testing.assert_close(*answers, atol=5e-3, rtol=0)


@pytest.mark.parametrize("kind", ["multiclass", "ordinal"])
def test_heads_too_large_for_all_penalties_at_once_are_fitted_in_parts(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fitted(kind)[3]
    found = []
    fit = fitting._Problem._fit

    def seen(problem: Any, x_ND: Tensor, encoded_N: Tensor, penalties: Any, tolerance: float) -> dict[str, Tensor]:
        found.append(len(penalties))
        return fit(problem, x_ND, encoded_N, penalties, tolerance)

    monkeypatch.setattr(fitting._Problem, "_fit", seen)
    monkeypatch.setattr(fitting, "MOST_UNKNOWNS", 1000)
    torch.testing.assert_close(fitted(kind)[3], whole, atol=1e-3, rtol=0)
    assert max(found) < len(PENALTIES) and sum(found) == len(PENALTIES) + 1


def test_problems_side_by_side_end_where_each_has_its_least_value() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(5, 8, 8, generator=generator, dtype=torch.float64)
    curvature = root @ root.mT + torch.eye(8)
    target = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    calls = []

    def problems(x_AP: Tensor, which_A: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(len(which_A))
        apart = x_AP - target[which_A]
        gradient = (curvature[which_A] @ apart[:, :, None]).squeeze(2)
        return (apart * gradient).sum(dim=1) / 2, gradient

    found = minimise(problems, torch.zeros(5, 8, dtype=torch.float64), 100, 1e-16)
    torch.testing.assert_close(found, target, atol=1e-6, rtol=0)
    assert min(calls) < 5, "what is done is computed no more"


def test_a_value_is_known_as_kinds_encode_it() -> None:
    for kind in KINDS:
        values = values_of(kind, 30, missing=0.4)
        known = np.array([value is not None and value == value for value in values])
        assert has_value(KINDS[kind].encode(values, spec_of(kind, values))).tolist() == known.tolist()
