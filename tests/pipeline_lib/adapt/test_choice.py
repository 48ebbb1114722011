"""Choosing among adapted models without labels of the target, and seeing that there is nothing to gain."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from pipeline_lib.adapt import decision
from pipeline_lib.adapt.choice import choose
from pipeline_lib.adapt.decision import decide, forgotten
from pipeline_lib.adapt.evidence import Evidence, HeldBack, answers, gather
from pipeline_lib.adapt.scorers import SCORERS, WITH_SOURCE
from pipeline_lib.adapt.shift import find_shift
from pipeline_lib.data.rows import Rows
from pipeline_lib.stats.label_shift import prior_of, target_prior
from tests.pipeline_lib.adapt.sets import make_model, squares
from tests.pipeline_lib.training.sets import stored

NUM, CLASSES = 300, 4


def evidence(certainty: float, spread: float, seed: int = 0) -> Evidence:
    """Images of four classes: predictions that are right, the surer the greater ``certainty``, and their clusters."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, CLASSES, NUM)
    features = np.eye(CLASSES)[classes] + spread * rng.normal(size=(NUM, CLASSES))
    partners = rng.permutation(NUM)
    mixed = 0.55 * features + 0.45 * features[partners]
    together = np.eye(CLASSES)[classes]
    wrong, ratio = (rng.random(NUM) < spread / 5).astype(float), np.exp(rng.normal(-0.1, 0.4, NUM))
    probabilities = _softmax(certainty * features)
    return Evidence(probabilities, features, _softmax(certainty * mixed), partners, together, wrong, ratio)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def moved(found: Evidence, images: np.ndarray, classes: np.ndarray) -> Evidence:
    """The same with images and classes in another order."""
    partners = np.argsort(images)[found.partners[images]]
    probabilities, mixed, together = (
        of_classes[images][:, classes] for of_classes in (found.probabilities, found.mixed, found.ensemble)
    )
    return replace(
        found,
        probabilities=probabilities,
        features=found.features[images],
        mixed=mixed,
        partners=partners,
        ensemble=together,
    )


@pytest.mark.parametrize("name", SCORERS)
def test_clear_classes_score_better_than_vague_ones(name: str) -> None:
    assert SCORERS[name](evidence(8, 0.1)) > SCORERS[name](evidence(1, 2.0)) + 0.1


@pytest.mark.parametrize("name", SCORERS)
def test_the_order_of_images_and_of_classes_does_not_matter(name: str) -> None:
    rng, found = np.random.default_rng(1), evidence(4, 0.3)
    other = moved(found, rng.permutation(NUM), rng.permutation(CLASSES))
    # k-means starts at other images then.
    assert SCORERS[name](other) == pytest.approx(SCORERS[name](found), abs=0.01 if name == "class_ami" else 1e-6)


@pytest.mark.parametrize("name", ["class_ami", "ensemble", "infomax", "mixval"])
def test_one_class_for_all_scores_worse_than_clear_classes(name: str) -> None:
    clear = evidence(8, 0.1)
    one = np.tile(np.eye(CLASSES)[0], (NUM, 1))
    constant = replace(clear, probabilities=one, mixed=one)
    assert SCORERS[name](constant) < SCORERS[name](clear) - 0.3


def test_scores_are_their_formulas() -> None:
    found = evidence(3, 0.5)
    p = found.probabilities
    unsure = -(p * np.log(p)).sum(axis=1).mean()
    assert SCORERS["entropy"](found) == pytest.approx(-unsure)
    mean = p.mean(axis=0)
    assert SCORERS["infomax"](found) == pytest.approx(-(mean * np.log(mean)).sum() - unsure)
    similarity = np.exp((1 - cdist(p, p, "cosine")) / 0.05)
    rows = []
    for number, row in enumerate(similarity):
        share = np.delete(row, number) / np.delete(row, number).sum()
        rows.append(-(share * np.log(share.clip(1e-300))).sum())
    assert SCORERS["snd"](found) == pytest.approx(np.mean(rows), rel=1e-4)
    given = p.argmax(axis=1)
    pairs: dict[bool, list[bool]] = {True: [], False: []}
    for image, partner in enumerate(found.partners):
        pairs[given[image] == given[partner]].append(found.mixed[image].argmax() == given[image])
    assert SCORERS["mixval"](found) == pytest.approx((np.mean(pairs[True]) + np.mean(pairs[False])) / 2)


def test_errors_on_the_source_are_weighed_by_how_much_of_the_target_is_like_them() -> None:
    found = evidence(3, 2.0)
    weighted, ratio = found.ratio * found.wrong, found.ratio
    assert SCORERS["iwv"](found) == pytest.approx(-weighted.mean())
    # The regression of the one on the other, where the other has its true mean.
    slope, _ = np.polyfit(ratio, weighted, 1)
    assert SCORERS["dev"](found) == pytest.approx(-(weighted.mean() - slope * (ratio.mean() - 1)))
    even = replace(found, ratio=np.ones(NUM))
    assert SCORERS["dev"](even) == SCORERS["iwv"](even) == pytest.approx(-found.wrong.mean())


def test_a_control_variate_makes_the_estimate_vary_less() -> None:
    # Every error is 30%, whatever the weights, and so is the target's.
    rng, found = np.random.default_rng(0), evidence(3, 1.0)
    drawn: dict[str, list[float]] = {"dev": [], "iwv": []}
    for _ in range(200):
        wrong, ratio = (rng.random(200) < 0.3).astype(float), rng.exponential(1.0, 200)
        for name, values in drawn.items():
            values.append(SCORERS[name](replace(found, wrong=wrong, ratio=ratio)))
    assert np.mean(drawn["dev"]) == pytest.approx(-0.3, abs=0.01) == np.mean(drawn["iwv"])
    assert np.std(drawn["dev"]) < np.std(drawn["iwv"])


def test_scorers_that_go_by_the_source_cannot_tell_where_hardly_an_image_is_like_the_target() -> None:
    found = evidence(3, 1.0)
    few = np.where(np.arange(NUM) < NUM // 20, 20.0, 1e-3)
    for name in WITH_SOURCE:
        assert math.isfinite(SCORERS[name](found))
        assert math.isnan(SCORERS[name](replace(found, ratio=few)))


def test_scorers_that_go_by_the_source_cannot_tell_without_it() -> None:
    found = replace(evidence(3, 1.0), wrong=np.empty(0), ratio=np.empty(0))
    assert {name for name, scorer in SCORERS.items() if math.isnan(scorer(found))} == WITH_SOURCE


def test_held_back_images_are_judged_by_every_candidate(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    images, classes = squares(60, seed=1)
    source, rows = stored(tmp_path / "source", images), stored(tmp_path, squares(80, seed=2, shifted=True)[0])
    models = {"source_only": make_model(seed=0), "other": make_model(seed=1)}
    held_back = HeldBack(source, classes, np.arange(60).astype(str).astype(object))
    keys = np.arange(100, 180).astype(str).astype(object)
    found = gather(models, "shape", rows, torch.device("cpu"), 0, held_back, keys)
    for name, one in found.items():
        _, probabilities = answers(models[name], "shape", source, torch.device("cpu"))
        np.testing.assert_array_equal(one.wrong, probabilities.argmax(axis=1) != classes)
        assert one.ratio.shape == (60,) and (one.ratio >= 0).all()
    assert not np.array_equal(found["source_only"].ratio, found["other"].ratio)


def test_agreement_is_with_the_class_of_the_ensemble() -> None:
    found, together = evidence(3, 2.0), evidence(3, 2.0, seed=1).probabilities
    agreed = [one.argmax() == all_.argmax() for one, all_ in zip(found.probabilities, together, strict=True)]
    assert SCORERS["ensemble"](replace(found, ensemble=together)) == pytest.approx(sum(agreed) / NUM)


def test_every_model_is_asked_about_the_same_images(tmp_path: Path) -> None:
    images, _ = squares(40, seed=0)
    rows = stored(tmp_path, images)
    models = {name: make_model(seed=seed) for name, seed in (("first", 0), ("again", 0), ("other", 1))}
    first, again, other = gather(models, "shape", rows, torch.device("cpu"), 3).values()
    np.testing.assert_array_equal(first.partners, other.partners)
    np.testing.assert_array_equal(first.mixed, again.mixed)
    assert first.probabilities.shape == first.mixed.shape == (40, 3)
    np.testing.assert_allclose(first.probabilities.sum(axis=1), 1, atol=1e-5)
    assert not np.array_equal(first.probabilities, other.probabilities)
    np.testing.assert_allclose(first.ensemble, (2 * first.probabilities + other.probabilities) / 3, rtol=1e-5)


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ({"source_only": (1, 1, 1), "a": (2, 2, 0), "b": (3, 0, 0)}, "a"),
        ({"source_only": (1, 1, 1), "a": (2, 0, 0), "b": (0, 3, 0)}, "source_only"),
        ({"source_only": (1, 1, 1), "a": (2, 2, 2), "b": (3, 3, 3)}, "b"),
        ({"source_only": (1, 1, 1), "a": (1, 1, 1)}, "source_only"),
        ({"source_only": (1, 1, 1), "a": (2, 2, 2), "b": (2, 2, 2)}, "a"),
        ({"source_only": (1, 1, 1), "a": (math.nan, math.nan, 9)}, "source_only"),
        ({"source_only": (math.nan,) * 3, "a": (math.nan,) * 3}, "source_only"),
        # What cannot tell of the start speaks neither for nor against.
        ({"source_only": (1, 1, math.nan), "a": (2, 2, math.nan), "b": (2, 0, math.nan)}, "a"),
        ({"source_only": (1, math.nan), "a": (2, 9)}, "a"),
        ({"source_only": (1, 1, math.nan), "a": (2, 0, 9)}, "source_only"),
        ({"source_only": (1, 1)}, "source_only"),
    ],
)
def test_the_best_mean_rank_of_those_that_most_scorers_prefer(
    scores: dict[str, tuple[float, ...]], chosen: str
) -> None:
    named = {name: dict(zip("xyz", values, strict=False)) for name, values in scores.items()}
    found = choose(named)
    assert found.name == chosen
    assert found.reason == ("not_preferred" if chosen == "source_only" else "preferred")
    assert set(found.ranks) == set(scores)


def domain(
    rng: np.random.Generator, num: int, prior: np.ndarray, move: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of Gaussian classes, their exact probabilities under equal priors, and the classes."""
    classes = rng.choice(CLASSES, num, p=prior)
    features = 2.5 * np.eye(CLASSES, 10)[classes] + rng.normal(size=(num, 10))
    return features + move, _softmax(2.5 * features[:, :CLASSES]), classes


EVEN, SKEWED = np.full(CLASSES, 0.25), np.array([10, 10, 1, 1]) / 22


def test_two_halves_of_one_set_show_a_shift_as_seldom_as_the_level_says() -> None:
    found = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        (first, p, _), (second, q, _) = domain(rng, 200, EVEN), domain(rng, 200, EVEN)
        found.append(find_shift(first, p, second, q, EVEN, seed).found)
    # Each of 100 at a level of 5%: more than 12 have a probability of less than 0.1%.
    assert sum(one != "none" for one in found) <= 12


@pytest.mark.parametrize(("prior", "move", "expected"), [(SKEWED, 0.0, "prior"), (EVEN, 0.6, "shift")])
def test_other_priors_are_told_from_other_images(prior: np.ndarray, move: float, expected: str) -> None:
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        (first, p, _), (second, q, _) = domain(rng, 600, EVEN), domain(rng, 600, prior, move)
        found.append(find_shift(first, p, second, q, EVEN, seed).found)
    assert found.count(expected) >= 16


@pytest.mark.parametrize(("shifted", "reason"), [(False, "no_shift"), (True, None)])
def test_a_decision_leaves_the_model_where_there_is_no_shift(shifted: bool, reason: str | None, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    source, target = squares(150, seed=1)[0], squares(150, seed=2, shifted=shifted)[0]
    models = {"source_only": make_model(seed=0), "other": make_model(seed=1)}
    held_out, rows = stored(tmp_path / "source", source), stored(tmp_path, target)
    scorers = ["infomax", "mixval"]
    found = decide(models, "shape", rows, held_out, np.full(3, 1 / 3), scorers, torch.device("cpu"), 0)
    assert set(found["scores"]) == set(models) == set(found["ranks"])
    assert all(list(scores) == scorers for scores in found["scores"].values())
    if reason:
        assert (found["chosen"], found["reason"]) == ("source_only", reason)
    assert (found["shift"]["found"] == "shift") is shifted


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        # A constant answer has 40%, so that 65% is half-way.
        ({"source_only": 0.9, "kept": 0.7, "lost": 0.6}, ["lost"]),
        ({"source_only": 0.9, "kept": 1.0, "lost": 0.0}, ["lost"]),
        ({"source_only": 0.4, "lost": 0.1}, []),
    ],
)
def test_who_is_nearer_to_a_constant_answer_than_to_the_model_before_forgot_the_source(
    right: dict[str, float], expected: list[str], tmp_path: Path
) -> None:
    classes, rows = np.repeat([0, 1, 2], [40, 30, 30]), stored(tmp_path, squares(100, seed=0)[0])
    wrong = {name: (np.arange(100) >= 100 * share).astype(float) for name, share in right.items()}
    found = {name: replace(evidence(3, 1.0), wrong=one) for name, one in wrong.items()}
    assert forgotten(found, HeldBack(rows, classes, np.arange(100))) == expected
    few = {name: replace(one, wrong=one.wrong[-10:]) for name, one in found.items()}
    assert forgotten(few, HeldBack(Rows(rows.images, rows.rows[:10]), classes[:10], np.arange(10))) == []
    assert forgotten(found, None) == []


@pytest.mark.parametrize(("rare", "expected"), [(10, ["lost"]), (3, [])])
def test_who_gave_up_rare_classes_forgot_them_if_they_can_be_judged(
    rare: int, expected: list[str], tmp_path: Path
) -> None:
    classes, rows = np.repeat([0, 1, 2], [80, rare, rare]), stored(tmp_path, squares(80 + 2 * rare, seed=0)[0])
    # The model before is as often right as a constant answer, and so accuracy tells nothing.
    right = {"source_only": np.repeat([0.75, 1, 1], [80, rare, rare]), "lost": np.repeat([0.9, 0, 0], [80, rare, rare])}
    place_N = np.concatenate([np.arange(num) / num for num in (80, rare, rare)])
    found = {name: replace(evidence(3, 1.0), wrong=(place_N >= one).astype(float)) for name, one in right.items()}
    assert forgotten(found, HeldBack(rows, classes, np.arange(len(classes)))) == expected


def test_who_forgot_the_source_is_not_chosen_however_it_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").mkdir()
    source, target = squares(150, seed=1)[0], squares(150, seed=2, shifted=True)[0]
    models = {name: make_model(seed=seed) for seed, name in enumerate(("source_only", "best", "other"))}
    given = (models, "shape", stored(tmp_path, target), stored(tmp_path / "source", source), np.full(3, 1 / 3))
    monkeypatch.setitem(
        SCORERS, "infomax", lambda one: dict(zip(map(id, said.values()), (1, 3, 2), strict=True))[id(one)]
    )
    said = gather(models, "shape", given[2], torch.device("cpu"), 0)
    monkeypatch.setattr(decision, "gather", lambda *_, **__: said)
    for forgot, chosen, reason in (
        ([], "best", "preferred"),
        (["best"], "other", "preferred"),
        (["best", "other"], "source_only", "forgot"),
    ):
        monkeypatch.setattr(decision, "forgotten", lambda *_, forgot=forgot: forgot)
        found = decide(*given, ["infomax"], torch.device("cpu"), 0)
        assert (found["chosen"], found["forgot"], found["reason"]) == (chosen, forgot, reason)
        assert set(found["ranks"]) == set(models)


@pytest.mark.parametrize("num", [0, 1, 20])
def test_a_source_that_holds_out_too_few_images_still_lets_scorers_choose(num: int, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    models = {"source_only": make_model(seed=0), "other": make_model(seed=1)}
    rows, images = stored(tmp_path, squares(60, seed=2)[0]), stored(tmp_path / "source", squares(20, seed=1)[0]).images
    held_out, scorers = Rows(images, np.arange(num)), ["infomax", "mixval"]
    found = decide(models, "shape", rows, held_out, np.full(3, 1 / 3), scorers, torch.device("cpu"), 0)
    assert found["shift"]["found"] == "shift" and math.isnan(found["shift"]["p_value"])
    assert found["reason"] in ("preferred", "not_preferred")


def test_a_prior_counts_what_is_labelled() -> None:
    np.testing.assert_allclose(prior_of(np.array([0, 0, 0, 2, -100]), 3), np.array([4, 1, 2]) / 7)


def test_images_of_a_few_say_nothing() -> None:
    rng = np.random.default_rng(0)
    (first, p, _), (second, q, _) = domain(rng, 20, EVEN), domain(rng, 20, EVEN)
    assert find_shift(first, p, second, q, EVEN, 0).found == "shift"


def test_a_prior_is_found_again() -> None:
    _, q, _ = domain(np.random.default_rng(0), 5000, SKEWED)
    np.testing.assert_allclose(target_prior(q, EVEN), SKEWED, atol=0.03)
