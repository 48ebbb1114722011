"""What holds for every kind of label."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import MISSING, is_missing, labelled
from pipeline_lib.labels.multilabel import tag_matrix
from tests.pipeline_lib.labels.examples import perfect_outputs, spec_of, values_of

kinds = pytest.mark.parametrize("kind", list(KINDS))


def test_the_name_of_a_kind_is_its_key() -> None:
    assert all(kind.name == name for name, kind in KINDS.items())


def test_reading_and_scoring_need_no_torch() -> None:
    code = "import sys, pipeline_lib.labels, pipeline_lib.labels.tasks; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@kinds
def test_a_stored_value_is_read_as_itself(kind: str) -> None:
    values = values_of(kind)
    again = [KINDS[kind].read(value) for value in values]
    assert all(one == two or (is_missing(one) and is_missing(two)) for one, two in zip(values, again, strict=True))


@kinds
@pytest.mark.parametrize("cell", [None, float("nan"), np.float64("nan"), pd.NA, pd.NaT, "", "  "])
def test_what_is_no_label_is_read_as_none(kind: str, cell: object) -> None:
    assert KINDS[kind].read(cell) is None


@kinds
def test_perfect_outputs_are_decoded_to_the_truth_and_score_best(kind: str) -> None:
    values = values_of(kind)
    spec = spec_of(kind, values)
    known = labelled(values)
    decoded = KINDS[kind].decode(perfect_outputs(kind, KINDS[kind].encode(values, spec), spec), spec)
    assert decoded.dtype == (np.float64 if KINDS[kind].stored == "float64" else object)
    if KINDS[kind].stored == "float64":
        np.testing.assert_allclose(decoded[known], values[known], rtol=1e-5)
    else:
        assert decoded[known].tolist() == values[known].tolist()
    main = KINDS[kind].scores(decoded, values, spec)[KINDS[kind].main]
    assert KINDS[kind].error(main) == pytest.approx(0, abs=1e-5)


@kinds
def test_a_spec_survives_json(kind: str) -> None:
    spec = KINDS[kind].describe(values_of(kind))
    assert json.loads(json.dumps(spec)) == spec


@kinds
def test_a_perfect_head_has_less_loss_than_an_ignorant_one(kind: str) -> None:
    values = values_of(kind)
    spec = spec_of(kind, values)
    encoded = KINDS[kind].encode(values, spec)
    outputs = perfect_outputs(kind, encoded, spec)
    assert KINDS[kind].loss(outputs, encoded) < 1e-3 < KINDS[kind].loss(outputs * 0, encoded)


@kinds
def test_missing_rows_change_neither_loss_nor_score(kind: str) -> None:
    values, predicted = values_of(kind, seed=1), values_of(kind, seed=2, missing=0)
    spec, known = spec_of(kind, values), labelled(values)
    assert 0 < known.sum() < len(known)
    encoded = KINDS[kind].encode(values, spec)
    torch.manual_seed(0)
    outputs = KINDS[kind].head(7, spec)(torch.randn(len(values), 7))
    torch.testing.assert_close(
        KINDS[kind].loss(outputs, encoded), KINDS[kind].loss(outputs[known], encoded[torch.from_numpy(known)])
    )
    assert KINDS[kind].scores(predicted, values) == pytest.approx(KINDS[kind].scores(predicted[known], values[known]))
    assert KINDS[kind].judged(values) == KINDS[kind].judged(values[known])


@kinds
def test_the_order_of_images_changes_no_score(kind: str) -> None:
    values, predicted = values_of(kind, seed=1), values_of(kind, seed=2, missing=0)
    order = np.random.default_rng(0).permutation(len(values))
    assert KINDS[kind].scores(predicted[order], values[order]) == pytest.approx(KINDS[kind].scores(predicted, values))
    spec, again = KINDS[kind].describe(values), KINDS[kind].describe(values[order])
    assert again.pop("classes", None) == spec.pop("classes", None)
    assert again == pytest.approx(spec)


@kinds
def test_nothing_but_missing_values_is_a_problem_and_scores_nothing(kind: str) -> None:
    missing = values_of(kind, missing=1.1)
    predicted = values_of(kind, missing=0)
    for nulls in (missing, np.full(200, None), np.full(200, np.nan)):
        assert KINDS[kind].describe(nulls)["problem"] == "it has no value"
        assert set(KINDS[kind].scores(predicted, nulls).values()) == {None}
        score, left_out = KINDS[kind].scorer(predicted, nulls)
        assert np.isnan(score(np.arange(200)))
        assert left_out == 0
        assert pd.isna(KINDS[kind].constant(nulls)).all()


@kinds
def test_a_batch_without_the_label_has_no_loss_and_no_gradient(kind: str) -> None:
    values = values_of(kind)
    spec = spec_of(kind, values)
    head = KINDS[kind].head(7, spec)
    loss = KINDS[kind].loss(head(torch.randn(20, 7)), KINDS[kind].encode(values_of(kind, 20, missing=1.1), spec))
    loss.backward()
    assert loss.item() == 0
    assert all(torch.all(p.grad == 0) for p in head.parameters())


@kinds
def test_a_value_that_is_always_the_same_is_a_problem(kind: str) -> None:
    values = values_of(kind, missing=0)
    problem = KINDS[kind].describe(np.full(50, values[0], dtype=values.dtype))["problem"]
    assert problem is not None
    assert (f"{values[0]:g}" if kind == "regression" else values[0].strip(";")) in problem


@kinds
def test_a_constant_answer_scores_what_chance_would(kind: str) -> None:
    values = values_of(kind)
    constant = KINDS[kind].constant(values)
    assert len(constant) == len(values)
    assert len(pd.unique(constant)) == 1
    score = KINDS[kind].scores(constant, values)[KINDS[kind].main]
    expected = {
        "multiclass": 1 / 5,
        "binary": 1 / 2,
        "ordinal": 0,
        "multilabel": 1 / 2,
        "regression": np.nanmean(np.abs(values - np.nanmedian(values))) if kind == "regression" else None,
    }
    assert score == pytest.approx(expected[kind])


@kinds
def test_no_constant_answer_is_better_in_hindsight(kind: str) -> None:
    values = values_of(kind)
    best = KINDS[kind].scores(KINDS[kind].constant(values), values)
    for other in pd.unique(values[labelled(values)])[:20]:
        scores = KINDS[kind].scores(np.full(len(values), other, dtype=values.dtype), values)
        assert KINDS[kind].error(scores[KINDS[kind].main]) >= KINDS[kind].error(best[KINDS[kind].main]) - 1e-9


@kinds
def test_a_scorer_scores_rows_as_score_does(kind: str) -> None:
    values, predicted = values_of(kind, seed=1), values_of(kind, seed=2, missing=0)
    judged = KINDS[kind].judged(values)
    score, left_out = KINDS[kind].scorer(predicted, values)
    assert left_out == 0
    assert score(np.arange(200)) == KINDS[kind].score(predicted, values, judged)
    assert score(np.arange(200)) == KINDS[kind].scores(predicted, values)[KINDS[kind].main]
    rows = np.random.default_rng(0).choice(200, 150)
    assert score(rows) == pytest.approx(KINDS[kind].score(predicted[rows], values[rows], judged))


@kinds
def test_too_few_images_are_not_judged(kind: str) -> None:
    values = values_of(kind, missing=0)[:4]
    score, _ = KINDS[kind].scorer(values, values)
    assert np.isnan(score(np.arange(4)))
    assert KINDS[kind].scores(values, values)[KINDS[kind].main] is None


@kinds
def test_probabilities_sum_to_one_and_agree_with_the_answer(kind: str) -> None:
    values = values_of(kind)
    spec = spec_of(kind, values)
    torch.manual_seed(0)
    outputs = KINDS[kind].head(7, spec)(3 * torch.randn(50, 7))
    if not KINDS[kind].has_classes:
        with pytest.raises(TypeError, match=f"a {kind} label has no probabilities"):
            KINDS[kind].probabilities(outputs)
        return
    probabilities = KINDS[kind].probabilities(outputs)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(50))
    likeliest = [spec["classes"][index] for index in probabilities.argmax(1).tolist()]
    assert KINDS[kind].decode(outputs, spec).tolist() == likeliest


@kinds
def test_what_training_did_not_see_is_missing(kind: str) -> None:
    spec = spec_of(kind, values_of(kind))
    if KINDS[kind].has_classes:
        assert KINDS[kind].encode(np.array(["unheard of", None], dtype=object), spec).tolist() == [MISSING, MISSING]


@kinds
def test_a_head_learns_what_its_features_say(kind: str) -> None:
    values = values_of(kind, missing=0)
    spec = spec_of(kind, values)
    encoded = KINDS[kind].encode(values, spec)
    if KINDS[kind].has_classes:
        # One feature for all: an ordinal head has but one direction, and the others can bend it.
        features = torch.nn.functional.one_hot(encoded).float().cumsum(1)
    else:
        features = encoded.reshape(len(values), -1)
    torch.manual_seed(0)
    head = KINDS[kind].head(features.shape[1], spec)
    optimizer = torch.optim.Adam(head.parameters(), 0.2)
    for _ in range(100):
        optimizer.zero_grad()
        KINDS[kind].loss(head(features), encoded).backward()
        optimizer.step()
    scores = KINDS[kind].scores(KINDS[kind].decode(head(features).detach(), spec), values, spec)
    assert KINDS[kind].error(scores[KINDS[kind].main]) < 0.05


@kinds
def test_what_is_readable_says_what_the_answer_says(kind: str) -> None:
    values = values_of(kind)
    spec = spec_of(kind, values)
    head = KINDS[kind].head(8, spec)
    with torch.no_grad():
        outputs = head(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * 3)
    answers, readable = KINDS[kind].decode(outputs, spec), KINDS[kind].readable(outputs, spec)
    confidence = KINDS[kind].confidence(readable)
    assert confidence.shape == (50,)
    if kind == "regression":
        np.testing.assert_allclose(readable, answers, rtol=1e-4)
        assert confidence.isnan().all()
    elif kind == "multilabel":
        has = tag_matrix(answers, spec["classes"])
        np.testing.assert_array_equal(readable > 0.5, has)
        np.testing.assert_allclose(confidence, np.where(has, readable, 1 - readable).prod(axis=1), rtol=1e-5)
    else:
        assert [spec["classes"][place] for place in readable.argmax(dim=1)] == answers.tolist()
        np.testing.assert_allclose(readable.sum(dim=1), 1, rtol=1e-5)
        np.testing.assert_allclose(confidence, readable.max(dim=1).values)
