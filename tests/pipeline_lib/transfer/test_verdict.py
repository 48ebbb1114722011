import numpy as np
import pandas as pd
import pytest

from pipeline_lib.transfer import verdict
from pipeline_lib.transfer.evaluate import score_predictions
from pipeline_lib.transfer.words import percent, signed, some

BOOT = {"resamples": 200, "seed": 0}


def share(right, total=400):
    """Scores of images of which so large a part is right, the first ones."""
    return (np.arange(total) < right * total).astype(float)


def probed(**accuracy):
    return {(name, 5): np.tile(share(value), (3, 1)) for name, value in {"untrained": 0.1, **accuracy}.items()}


def clustered(**accuracy):
    right = {(name, "umap", "kmeans"): share(value) for name, value in accuracy.items()}
    rows = [
        {"representation": name, "space": space, "clusterer": how, "accuracy": part.mean(), "silhouette": 0.5}
        for (name, space, how), part in right.items()
    ]
    return right, rows


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 0.2, "positive"),
        (-0.2, -0.1, "negative"),
        (-0.1, 0.1, "unclear"),
        (0, 1, "unclear"),
        (None, None, "unknown"),
    ],
)
def test_the_outcome_is_where_the_interval_lies(low, high, expected):
    assert verdict.outcome(low, high) == expected


@pytest.mark.parametrize(("amounts", "expected"), [([1, 5, 10, 50], 5), ([4, 6], 4), ([10, 50], 10), ([1], 1)])
def test_the_amount_of_labels_is_declared(amounts, expected):
    assert verdict.declared_amount(amounts) == expected


@pytest.mark.parametrize(
    ("pretrained", "pixels", "outcome"), [(0.9, 0.8, "positive"), (0.7, 0.8, "negative"), (0.8, 0.8, "unclear")]
)
def test_gains_are_told_as_they_are(pretrained, pixels, outcome):
    right, rows = clustered(pretrained=pretrained, pixels=pixels)
    parts = {("source_only", "kind"): share(pixels), ("shot_im", "kind"): share(pretrained)}
    tasks = {(model, label): parts[of, "kind"] for label in "ab" for model, of in
             (("multi_task", "shot_im"), ("single_task", "source_only"))}  # fmt: skip
    kinds = {"kind": "multiclass", "a": "binary", "b": "multiclass"}
    entries = [
        verdict.self_taught(probed(pretrained=pretrained, pixels=pixels), 5, "kind", **BOOT),
        verdict.multi_task(tasks, kinds, **BOOT),
        verdict.transductive(parts, "shot_im", "kind", kinds, changed=0.1, unknown_classes={}, **BOOT),
        verdict.unsupervised(right, rows, **BOOT),
    ]
    for entry in entries:
        assert entry["outcome"] == outcome
        assert entry["low"] <= entry["gain"] <= entry["high"]
        assert ("negative transfer" in entry["sentence"].lower()) == (outcome == "negative"), entry["sentence"]
    for entry in (entries[0], *entries[2:]):
        assert entry["gain"] == pytest.approx(pretrained - pixels)
        assert percent(pretrained) in entry["sentence"]
        assert percent(pixels) in entry["sentence"]


def test_an_untrained_encoder_that_is_better_is_mentioned():
    told = verdict.self_taught(probed(pretrained=0.8, pixels=0.6, untrained=0.9), 5, "kind", **BOOT)["sentence"]
    assert "without any training is better, 90.0%" in told
    told = verdict.self_taught(probed(pretrained=0.8, pixels=0.6, untrained=0.7), 5, "kind", **BOOT)["sentence"]
    assert "without any training" not in told


def test_delta_m_is_the_mean_relative_change_with_errors_turned():
    parts = {
        ("multi_task", "a"): share(0.9),
        ("single_task", "a"): share(0.6),
        ("multi_task", "b"): np.full(400, 0.3),
        ("single_task", "b"): np.full(400, 0.2),
        ("scratch", "a"): share(0.1),
    }
    entry = verdict.multi_task(parts, {"a": "multiclass", "b": "regression"}, **BOOT)
    assert entry["gain"] == pytest.approx((0.5 - 0.5) / 2)
    parts["multi_task", "b"] = np.full(400, 0.1)
    assert verdict.multi_task(parts, {"a": "multiclass", "b": "regression"}, **BOOT)["gain"] == pytest.approx(0.5)


def test_one_label_has_nothing_to_share():
    parts = {("multi_task", "a"): share(0.9), ("single_task", "a"): share(0.6)}
    entry = verdict.multi_task(parts, {"a": "multiclass"}, **BOOT)
    assert (entry["outcome"], entry["gain"]) == ("unknown", None)


def test_harm_to_other_labels_and_better_adapters_are_told():
    rng = np.random.default_rng(0)
    parts = {
        ("source_only", "kind"): share(0.6),
        ("adabn", "kind"): share(0.95),
        ("shot_im", "kind"): share(0.9),
        ("source_only", "size"): rng.random(400),
        ("adabn", "size"): rng.random(400) + 5,
        ("shot_im", "size"): rng.random(400) + 1,
        ("source_only", "filled"): share(0.5),
        ("shot_im", "filled"): share(0.8),
    }
    kinds = {"kind": "multiclass", "size": "regression", "filled": "binary"}
    told = verdict.transductive(parts, "shot_im", "kind", kinds, changed=0.1, unknown_classes={"x": 3, "y": 4}, **BOOT)[
        "sentence"
    ]
    assert "adabn reaches 95.0%" in told
    assert "negative transfer to size (1.5 off, before" in told
    assert "filled" not in told
    assert "a class that the source does not have counts as wrong (7: x, y)" in told


def test_the_best_clustering_of_all_is_named():
    right, rows = clustered(pretrained=0.7, pixels=0.8, adapted=0.99)
    told = verdict.unsupervised(right, rows, **BOOT)["sentence"]
    assert "negative transfer" in told.lower()
    assert "k-means in UMAP space on adapted, 99.0%" in told


def test_without_labels_nothing_is_claimed():
    right, rows = clustered(pretrained=0.7, pixels=0.8)
    rows = [{**row, "accuracy": None} for row in rows]
    entries = [
        verdict.self_taught({}, 5, "kind", **BOOT),
        verdict.transductive({}, "shot_im", "kind", {}, changed=0.125, unknown_classes={}, **BOOT),
        verdict.unsupervised(right, rows, **BOOT),
    ]
    for entry in entries:
        assert entry["outcome"] == "unknown"
        assert {entry[key] for key in ("value", "baseline_value", "gain", "low", "high")} == {None}
        assert entry["sentence"].startswith("Not measurable")
    assert "12.5%" in entries[1]["sentence"]
    assert "0.50 on pretrained" in entries[2]["sentence"]
    first = verdict.headline([], [], rows, 5, label="kind", num_labelled=0, num_images=9)
    assert first.startswith("The target has no 'kind' labels")
    lines = verdict.verdict_lines(first, entries)
    assert [line.split(":")[0] for line in lines[1:]] == ["Self-taught", "Transductive", "Unsupervised"]


def test_the_headline_names_the_best_way_in_each_situation():
    _, rows = clustered(pretrained=0.7, pixels=0.8, adapted=0.99)
    models = [
        {"model": model, "label": "kind", "metric": "accuracy", "value": value}
        for model, value in {"source_only": 0.6, "mcc": 0.9}.items()
    ]
    probe_rows = [
        {"representation": name, "labels_per_class": amount, "accuracy": accuracy}
        for name, amount, accuracy in [("pixels", 5, 0.8), ("adapted", 5, 0.95), ("pixels", 50, 0.99)]
    ]
    first = verdict.headline(models, probe_rows, rows, 5, label="kind", num_labelled=30, num_images=1200)
    assert "source alone mcc (90.0% right)" in first
    assert "5 labels a class of the target a probe on adapted (95.0%)" in first
    assert "no labels at all k-means in UMAP space on pixels (80.0%)" in first
    assert "judged by the 30 of 1,200 images with a label" in first


def test_predictions_are_laid_beside_the_truth_by_id():
    ids = pd.Series(["b", "a", "c", "d"])
    table = pd.DataFrame(
        {
            "id": ["a", "b", "c", "a", "b", "c", "d"],
            "model": "m",
            "label": ["kind"] * 3 + ["size"] * 4,
            "predicted_class": pd.array(["x", "y", "x", *[None] * 4], dtype="string"),
            "predicted_value": [np.nan] * 3 + [1.0, 2.0, 3.0, 4.0],
        }
    )
    truths = {"kind": np.array(["y", "x", None, "x"], dtype=object), "size": np.array([2.5, 1.0, np.nan, 4.0])}
    rows, parts = score_predictions(
        table, truths, {"kind": "multiclass", "size": "regression"}, ids, resamples=100, seed=0
    )
    # "d" has no prediction of its class, which is wrong; "c" has no label, which is nothing.
    np.testing.assert_array_equal(parts["m", "kind"], [1, 1, np.nan, 0])
    np.testing.assert_array_equal(parts["m", "size"], [0.5, 0, np.nan, 0])
    value = {(row["label"], row["metric"]): row["value"] for row in rows}
    assert value["kind", "accuracy"] == pytest.approx(2 / 3)
    assert value["size", "mae"] == pytest.approx(1 / 6)
    assert {row["label"] for row in score_predictions(table, {}, {}, ids, **BOOT)[0]} == set()


def test_words():
    assert (signed(0.0651), signed(-0.0001), signed(-0.2)) == ("+6.5", "+0.0", "-20.0")
    assert some("abcdef") == "a, b, c, d and 2 more"
