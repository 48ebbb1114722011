"""The benchmarks of heads: that they measure what they say they measure."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import few_labels, frozen_heads, inductive, missing_labels, peer, rates, vendors
from benchmarks.adaptation import Labelled, write_rows
from benchmarks.inductive import ALL, TARGET, Scale, Task, labels_saved, run_seed
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import labelled


def test_ours_is_as_right_as_scikit_learn_on_the_features_that_are_drawn():
    x_ND, classes_N = frozen_heads.draw(900, seed=1)
    held_out_N = np.arange(600) % 5 == 0
    head = frozen_heads.fit_ours(x_ND[:600], classes_N[:600], held_out_N)
    peer = frozen_heads.fit_sklearn(x_ND[:600], classes_N[:600], 3)
    with torch.no_grad():
        said = head(torch.from_numpy(x_ND[600:])).argmax(dim=1).numpy()
    ours, theirs = ((answers == classes_N[600:]).mean() for answers in (said, peer.predict(x_ND[600:])))
    assert ours > 0.2 and abs(ours - theirs) < 0.1


@pytest.mark.parametrize(
    ("lp_ft", "saved"),
    [
        ({10: 0.5, 100: 0.7, 1000: 0.9}, 0.9),  # as good with 100
        ({10: 0.5, 100: 0.6, 1000: 0.8}, 1 - 10 ** (-0.5)),  # half the way from 100 to 1,000
        ({10: 0.1, 100: 0.2, 1000: 0.69}, None),
        ({10: 0.1, 100: 0.2, 1000: 0.7}, 0.0),
    ],
)
def test_labels_saved_are_read_off_the_curve(lp_ft, saved):
    found = labels_saved({"scratch": {10: 0.2, 100: 0.4, 1000: 0.7}, "lp_ft": lp_ft})
    assert found == (None if saved is None else pytest.approx(saved, abs=1e-4))


def test_concepts_that_score_are_in_no_training_and_budgets_are_shown_to_all(tmp_path: Path, monkeypatch):
    rng = np.random.default_rng(0)
    num = 60
    emoji = {
        vendor: Labelled(rng.integers(0, 256, (num, 3, 32, 32)).astype(np.uint8), np.arange(num) % 3)
        for vendor in vendors.VENDORS
    }
    concepts = {vendor: np.array([f"concept {row}" for row in range(num)], dtype=object) for vendor in vendors.VENDORS}
    test = vendors.tested(concepts, 0)
    given = []
    pretrained = inductive.pretrained

    def seen(images, task, epochs):
        given.append(images)
        return pretrained(images, task, epochs)

    monkeypatch.setattr(inductive, "pretrained", seen)
    monkeypatch.setattr(inductive, "LEAST_STEPS", 2)
    monkeypatch.setattr(inductive, "HEADS", inductive.HEADS.model_copy(update={"epochs": 2}))
    task = Task(
        rows=write_rows(tmp_path / "target.npy", emoji[TARGET].images),
        truth=emoji[TARGET].classes.astype(str).astype(object),
        concepts=concepts[TARGET],
        train=np.flatnonzero(~test[TARGET]),
        test=np.flatnonzero(test[TARGET]),
        seed=0,
        device=torch.device("cpu"),
        folder=tmp_path,
    )
    found = run_seed(emoji, concepts, Scale(None, 1, (4, ALL), ("frozen", "lp_ft", "scratch")), task)
    (source,) = given
    assert len(source) == sum(int((~test[vendor]).sum()) for vendor in vendors.VENDORS if vendor != TARGET)
    assert list(found) == [12, len(task.train)]
    for scores in found.values():
        assert list(scores) == ["pixels", "frozen", "lp_ft", "scratch", "auto"]
        assert all(0 <= one["score"] <= 1 for one in scores.values())
        assert scores["auto"] in [scores[name] for name in ("frozen", "lp_ft", "scratch")]


def test_photographs_that_score_are_in_no_training_without_labels_either(tmp_path: Path, monkeypatch):
    rng = np.random.default_rng(0)
    small, truth = rng.integers(0, 256, (60, 3, 32, 32)).astype(np.uint8), np.array(["a", "b", "c"] * 20, dtype=object)
    given = []
    monkeypatch.setattr(few_labels, "has_lite0", lambda: False)
    monkeypatch.setattr(inductive, "LEAST_STEPS", 2)
    monkeypatch.setattr(inductive, "HEADS", inductive.HEADS.model_copy(update={"epochs": 2}))
    pretrained = inductive.pretrained
    monkeypatch.setattr(
        inductive, "pretrained", lambda images, *rest: given.append(images) or pretrained(images, *rest)
    )
    names = np.arange(60).astype(str).astype(object)
    rows, train, test = write_rows(tmp_path / "images.npy", small), np.arange(45), np.arange(45, 60)
    task = Task(rows, truth, names, train, test, 0, torch.device("cpu"), tmp_path)
    found = few_labels.run_seed(small, small, Scale(None, 1, (2, ALL), ("frozen", "lp_ft", "scratch")), task)
    np.testing.assert_array_equal(given[0], small[:45])
    line = few_labels.line_of([found, found])
    assert list(line["labels"]) == ["6", "45"] and line["seeds"] == 2
    assert set(line["labels"]["6"]) == {"pixels", "frozen", "lp_ft", "scratch", "auto"}


def test_both_ways_see_the_same_pictures_and_their_times_are_compared_seed_by_seed(tmp_path: Path):
    images = np.random.default_rng(0).integers(0, 256, (11, 3, peer.SIZE, peer.SIZE)).astype(np.uint8)
    peer.write_files(tmp_path / "source", images)
    np.testing.assert_array_equal(peer.read_files(tmp_path / "source"), images)
    runs = [
        {"lightly_train": {"seconds": theirs}, "same_encoder": {"seconds": ours}}
        for theirs, ours in ((30.0, 10.0), (8.0, 4.0), (100.0, 10.0))
    ]
    line = peer.summary(runs, epochs=5)
    assert line["ratio"] == 3 and line["lightly_train"] == {"seconds": 46.0} and line["seeds"] == 3


def test_seven_of_ten_values_of_each_label_are_missing_and_each_label_loses_others():
    values = {name: np.array(["x", "y"] * 500, dtype=object) for name in ("a", "b")}
    values["b"][:200] = None
    found = missing_labels.without(values, 0)
    kept = {name: labelled(column) for name, column in found.items()}
    assert (kept["a"].sum(), kept["b"].sum()) == (300, 240) and not kept["b"][:200].any()
    both = (kept["a"] & kept["b"]).sum()
    assert 40 < both < 110, "a tenth of what could have both has both"
    assert all((found[name][kept[name]] == values[name][kept[name]]).all() for name in values)
    assert labelled(values["a"]).all(), "what is known to the score stays"
    assert not np.array_equal(kept["a"], labelled(missing_labels.without(values, 1)["a"]))


def test_a_label_alone_is_shown_the_images_that_have_it_and_all_labels_all_of_them():
    rng = np.random.default_rng(0)
    given = {name: np.where(rng.random(40) < 0.3, "x", None) for name in ("a", "b", "c")}
    asked = []

    def score(shown, weighting):
        asked.append((tuple(shown), weighting))
        return dict.fromkeys(shown, 0.25 * len(shown))

    found = missing_labels.run_seed(0, score, given, ["equal", "uncertainty"])
    assert asked == [
        (("a",), "equal"),
        (("b",), "equal"),
        (("c",), "equal"),
        (("a", "b", "c"), "equal"),
        (("a", "b", "c"), "uncertainty"),
    ]
    line = missing_labels.summary([found, {**found, "equal": dict.fromkeys(given, 0.05)}])
    gain = {"mean": 0.15, "each": [0.5, -0.2]}
    assert line == {"multi_task": 0.4, "single_task": 0.25, "gain": gain, "better_seeds": 1, "seeds": 2}


def test_rates_are_compared_by_means_over_seeds_whose_numbers_of_labels_differ():
    runs = [
        {"heads": {labels: {"frozen": {"score": score}}}, "adapters": {"mcc 0.002": {"score": score / 2}}}
        for labels, score in ((450, 0.4), (451, 0.6))
    ]
    assert rates.summary(runs) == {
        "heads": {"450": {"frozen": {"score": 0.5}}},
        "adapters": {"mcc 0.002": {"score": 0.25}},
        "seeds": 2,
    }


def test_another_label_leaves_out_images_without_it_and_is_scored_by_its_kind(tmp_path: Path):
    rows = write_rows(tmp_path / "target.npy", np.zeros((80, 3, 8, 8), np.uint8))
    tones = np.array([str(row % 4) for row in range(80)], dtype=object)
    tones[[3, 75]] = None
    names = np.arange(80).astype(str).astype(object)
    task = Task(rows, names, names, np.arange(40), np.arange(40, 80), 0, torch.device("cpu"), tmp_path)
    task = inductive.relabelled(task, tones, KINDS["ordinal"])
    assert set(range(40)) - set(task.train) == {3} and set(range(40, 80)) - set(task.test) == {75}
    assert inductive.score_of(tones[task.test], task) == pytest.approx(1)
    near = np.array([str(max(0, int(tone) - 1)) for tone in tones[task.test]], dtype=object)
    # What is wrong by a step is better than nothing, which balanced accuracy would not see.
    assert 0.2 < inductive.score_of(near, task) < 1
