"""The benchmarks of adaptation: that they run every method, and that they measure what they say they measure."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks import adaptation, do_no_harm, jda, vendors
from benchmarks.adaptation import Labelled, Outcome, Run, Setting, carry_over, judge, means, spread
from pipeline_lib.adapt import ADAPTERS
from pipeline_lib.adapt.scorers import SCORERS
from pipeline_lib.core.errors import UserError
from tasks.blocks.adapt import Adapt
from tasks.blocks.heads import Heads

WAYS = ("auto", "auto_of_all", *SCORERS)
QUICK = Setting(Heads(epochs=8), Adapt(methods=list(ADAPTERS), use="none", epochs=1))
ADABN = Setting(Heads(epochs=1), Adapt(methods=["adabn"], use="none", epochs=1))


def bars(num: int, seed: int) -> Labelled:
    """Images of 16 px with a bar at the top, in the middle or at the bottom, in noise."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (num, 1, 16, 16)).astype(np.uint8)
    classes = np.arange(num) % 3
    for image, number in zip(images, classes, strict=True):
        image[0, 1 + 5 * number : 4 + 5 * number] += 150
    return Labelled(images, classes)


def outcome(**answers: list[int]) -> Outcome:
    said = {name: np.array(values).astype(str).astype(object) for name, values in answers.items()}
    return Outcome(said, {**dict.fromkeys(answers, 2.0), "auto": 0.5}, dict.fromkeys(WAYS, "source_only"))


def run(chosen: str, **values: float) -> Run:
    scores = {name: dict.fromkeys((*adaptation.METRICS, "seconds"), value) for name, value in values.items()}
    best = max(scores.values(), key=lambda found: found["accuracy"])
    ways = {"auto": scores[chosen], "auto_of_all": scores[chosen]}
    return Run({**scores, **ways, "oracle": best}, dict.fromkeys(WAYS, chosen))


@pytest.fixture(scope="module")
def carried() -> Outcome:
    return carry_over(bars(90, 0), bars(60, 1).images, 0, QUICK)


def test_every_adapter_answers_for_every_image(carried):
    assert list(carried.answers) == ["source_only", *ADAPTERS]
    assert all(len(answers) == 60 and {*answers} <= {"0", "1", "2"} for answers in carried.answers.values())
    assert list(carried.seconds) == ["source_only", *ADAPTERS, "auto"]
    assert set(carried.chosen) == set(WAYS) and {*carried.chosen.values()} <= {*carried.answers}
    assert carried.chosen["auto"] in ("source_only", *Adapt().methods)


def test_the_source_model_has_learnt_and_adapters_go_on_from_it(carried):
    found = judge(carried, bars(60, 1).classes, "accuracy").scores
    assert all(found[name]["accuracy"] > 0.8 for name in ("source_only", "shot_im", "mcc"))


def test_the_same_seed_gives_the_same_answers_and_another_one_others():
    first, again, other = (carry_over(bars(60, 0), bars(60, 1).images, seed, ADABN).answers for seed in (0, 0, 1))
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def test_each_adapter_starts_from_the_source_model_and_trains_on_from_there():
    source, darker = bars(75, 0), bars(60, 1).images // 3
    several, alone = (
        carry_over(source, darker, 0, Setting(ADABN.heads, Adapt(methods=methods, use="none", epochs=4))).answers
        for methods in (["adabn", "shot_im"], ["shot_im"])
    )
    assert (several["source_only"] == alone["source_only"]).all()
    assert (several["shot_im"] == alone["shot_im"]).all()
    assert (several["adabn"] != several["source_only"]).any()
    assert (several["shot_im"] != several["adabn"]).any(), "statistics of the target alone are what adabn has too"


def test_images_that_score_may_be_others_than_those_adapted_to():
    target = bars(60, 1).images
    own, turned = (carry_over(bars(60, 0), target, 0, ADABN, scored) for scored in (None, target[40:19:-1]))
    assert len({*own.answers["adabn"]}) > 1
    for name, answers in own.answers.items():
        assert (turned.answers[name] == answers[40:19:-1]).all()


def test_auto_has_the_scores_of_the_chosen_and_oracle_those_of_the_best_by_the_metric():
    # Ten of one class and five of the other: a constant answer is right the most often, but not in balance.
    truth = np.repeat([0, 1], [10, 5])
    told = outcome(source_only=[1] * 10 + [0] * 5, constant=[0] * 15, balanced=[0] * 4 + [1] * 11)
    by_accuracy, by_balance = (judge(told, truth, metric).scores for metric in adaptation.METRICS)
    assert by_accuracy["constant"] == {"accuracy": 10 / 15, "balanced_accuracy": 0.5, "seconds": 2}
    assert by_balance["balanced"] == {"accuracy": 9 / 15, "balanced_accuracy": pytest.approx(0.7), "seconds": 2}
    assert by_balance["auto"] == {"accuracy": 0, "balanced_accuracy": 0, "seconds": 0.5}
    assert by_accuracy["oracle"] == {**by_accuracy["constant"], "seconds": 6.5}
    assert by_balance["oracle"] == {**by_balance["balanced"], "seconds": 6.5}


def test_means_and_spread_are_over_the_runs():
    runs = [run("source_only", source_only=0.5, mcc=0.9), run("mcc", source_only=0.6, mcc=0.8)]
    of_ways = {"auto": 0.65, "auto_of_all": 0.65, "oracle": 0.85}
    assert means(runs, "accuracy") == {"source_only": 0.55, "mcc": 0.85, **of_ways}
    found = spread(runs)
    assert found["chosen"] == {way: ["source_only", "mcc"] for way in WAYS}
    assert found["methods"]["mcc"]["accuracy"] == {
        "mean": 0.85, "std": round(0.1 / 2**0.5, 4), "min": 0.8, "max": 0.9, "each": [0.9, 0.8]
    }  # fmt: skip


def test_ranks_and_harm_are_counted_over_the_runs():
    runs = [
        run("mcc", source_only=0.5, mcc=0.9, dann=0.4),
        run("dann", source_only=0.5, mcc=0.5, dann=0.2),
    ]
    line = vendors.summary(runs)
    assert line["mean_rank"] == {"source_only": 1.75, "mcc": 1.25, "dann": 3.0, "auto": 2.0, "auto_of_all": 2.0}
    assert line["below_source_only"] == {"mcc": 0, "dann": 2, "auto": 1, "auto_of_all": 1}
    assert line["regret"] == pytest.approx((0 + 0.3) / 2)
    assert set(line["regrets"]) == set(WAYS) and line["regrets"]["infomax"] == line["regret"]
    assert line["runs"] == 2


def test_a_loss_is_positive_and_in_points():
    runs = [run("dann", source_only=0.9, dann=0.8), run("dann", source_only=0.9, dann=0.85)]
    assert do_no_harm.lost(runs) == pytest.approx(7.5)
    assert do_no_harm.lost([run("mcc", source_only=0.5, mcc=0.9)]) == pytest.approx(-40)


def numbered(classes: np.ndarray) -> Labelled:
    """Images that are their own row number."""
    return Labelled(np.arange(len(classes)).reshape(-1, 1, 1, 1), classes)


def test_halves_share_no_image_and_leave_none_out():
    first, second = do_no_harm.halves(numbered(np.arange(101) % 10), 0)
    assert sorted([*first.images.ravel(), *second.images.ravel()]) == list(range(101))
    assert abs(len(first.classes) - len(second.classes)) == 1
    assert (first.classes == first.images.ravel() % 10).all()
    assert (do_no_harm.halves(numbered(np.arange(101) % 10), 1)[0].images != first.images).any()


def test_half_of_the_classes_become_ten_times_as_frequent_by_images_drawn_once():
    digits = numbered(np.repeat(np.arange(10), np.arange(40, 60, 2)))
    found = do_no_harm.skewed(digits, 0)
    counts = np.sort(np.bincount(found.classes))
    most = counts[-1]
    assert most >= 40
    assert counts.tolist() == [round(most / 10)] * 5 + [most] * 5
    assert len({*found.images.ravel()}) == len(found.images)
    assert (digits.classes[found.images.ravel()] == found.classes).all()


def test_a_rare_class_with_too_few_images_gives_some_twice():
    found = do_no_harm.skewed(numbered(np.repeat([0, 1], [2, 2])), 0)
    assert np.sort(np.bincount(found.classes)).tolist() == [1, 2]
    few = numbered(np.repeat([0, 1], [1, 60]))
    seed = next(seed for seed in range(20) if len(do_no_harm.skewed(few, seed).classes) > 10)
    assert np.bincount(do_no_harm.skewed(few, seed).classes).tolist() == [6, 60]


CONCEPTS = {vendor: np.array([f"c{number}" for number in range(start, start + 60)], dtype=object)
            for start, vendor in enumerate(vendors.VENDORS)}  # fmt: skip


def test_a_concept_is_on_one_side_at_every_vendor():
    tested = vendors.tested(CONCEPTS, 0)
    sides = {vendor: {*CONCEPTS[vendor][test]} for vendor, test in tested.items()}
    every = set().union(*sides.values())
    for vendor, concepts in CONCEPTS.items():
        assert sides[vendor] == every & {*concepts}
        assert 0.2 < tested[vendor].mean() < 0.4
    assert any((vendors.tested(CONCEPTS, 1)[vendor] != tested[vendor]).any() for vendor in tested)


def test_concepts_that_score_are_in_no_training_set(monkeypatch):
    # Each image is the number of its concept, so that it can be told where it went.
    emoji = {
        vendor: Labelled(np.array([int(one[1:]) for one in concepts]).reshape(-1, 1, 1, 1), np.arange(60) % 3)
        for vendor, concepts in CONCEPTS.items()
    }
    seen = {}

    def carried(source, unlabelled, seed, setting, scored):
        seen.update(source={*source.images.ravel()}, target={*unlabelled.ravel()}, scored={*scored.ravel()})
        seen["sizes"] = len(source.images), len(unlabelled), len(scored)
        return outcome(source_only=[0] * len(scored))

    monkeypatch.setattr(vendors, "carry_over", carried)
    found = vendors.run_target("twitter", emoji, CONCEPTS, 0, ADABN)
    assert seen["scored"].isdisjoint(seen["source"] | seen["target"])
    test = vendors.tested(CONCEPTS, 0)
    assert seen["sizes"][1:] == ((~test["twitter"]).sum(), test["twitter"].sum())
    assert seen["sizes"][0] == sum((~test[vendor]).sum() for vendor in vendors.VENDORS if vendor != "twitter")
    assert found.scores["source_only"]["accuracy"] == pytest.approx(
        (emoji["twitter"].classes[test["twitter"]] == 0).mean()
    )


def write_table(path: Path, size: int, mode: str, **columns: list) -> None:
    """A file in the Hugging Face layout, whose pictures are of one grey each: their row number."""
    content = []
    for number in range(len(next(iter(columns.values())))):
        buffer = io.BytesIO()
        Image.new(mode, (size, size), number if mode == "L" else (number,) * 3).save(buffer, "PNG")
        content.append({"bytes": buffer.getvalue(), "path": f"{number}.png"})
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame({"image": content, **columns}).to_parquet(path)


@pytest.fixture
def data(tmp_path) -> Path:
    for name in ("mnist", "usps"):
        write_table(tmp_path / f"mnist_usps/{name}.parquet", 16, "L", label=[number % 10 for number in range(200)])
    for vendor in vendors.VENDORS:
        rows = range(60)
        # The last vendor's rows have other categories than those of the rest.
        names = [["Flags", "Objects", "Symbols"][(row + (vendor == "openmoji_color")) % 3] for row in rows]
        write_table(
            tmp_path / f"emoji/{vendor}.parquet", 64, "RGB", concept=[f"c{row}" for row in rows], category=names,
            in_unicode=[int(row % 6 > 0) for row in rows],
        )  # fmt: skip
    return tmp_path


def test_digits_fill_the_default_frame(data):
    digits = jda.read_digits(data, "usps")
    assert digits.images.shape == (200, 1, 28, 28)
    assert digits.images.dtype == np.uint8
    assert digits.images[:, 0, 0, 0].tolist() == digits.images[:, 0, 14, 14].tolist() == list(range(200))
    assert digits.classes.tolist() == [number % 10 for number in range(200)]


def test_emoji_outside_of_unicode_are_left_out_and_categories_have_one_number_everywhere(data):
    emoji, concepts = vendors.read_emoji(data)
    kept = [row for row in range(60) if row % 6]
    for vendor in vendors.VENDORS:
        assert emoji[vendor].images.shape == (50, 3, 32, 32)
        assert emoji[vendor].images[:, 0, 0, 0].tolist() == kept
        assert concepts[vendor].tolist() == [f"c{row}" for row in kept]
    assert emoji["google"].classes.tolist() == [row % 3 for row in kept]
    assert emoji["openmoji_color"].classes.tolist() == [(row + 1) % 3 for row in kept]
    few, few_concepts = vendors.read_emoji(data, 20)
    assert all(len(few[vendor].classes) == len(few_concepts[vendor]) == 20 for vendor in vendors.VENDORS)


def pretend(source: Labelled, target, seed: int, setting: Setting, scored=None) -> Outcome:
    """Instead of training: the source's model always says the first class, and mcc the second."""
    num = len(target if scored is None else scored)
    return outcome(source_only=[0] * num, mcc=[1] * num)


@pytest.mark.parametrize(
    ("module", "options", "keys", "runs"),
    [
        (jda, (), {"mnist_usps", "usps_mnist"}, 2),
        (vendors, ("--quick",), {"mean_rank", "below_source_only", "regret", "regrets", "runs"}, 1),
        (vendors, (), {"mean_rank", "below_source_only", "regret", "regrets", "runs"}, 2),
        (do_no_harm, (), {"halves", "prior"}, 2),
    ],
)
def test_the_last_line_and_the_file_hold_every_run(data, tmp_path, monkeypatch, capsys, module, options, keys, runs):
    result = tmp_path / "result.json"
    monkeypatch.setattr(module, "carry_over", pretend)
    monkeypatch.setattr(module, "RESULT", result)
    monkeypatch.setattr(sys, "argv", ["benchmark", "--data", str(data), "--seeds", "2", "--save", *options])
    module.main()
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line.keys() == keys
    saved = json.loads(result.read_text())
    found = saved.get("directions") or saved["targets"]
    assert {"mcc", "source_only", "auto", "auto_of_all", "oracle"} == next(iter(found.values()))["methods"].keys()
    for one in found.values():
        assert len(one["methods"]["mcc"]["accuracy"]["each"]) == len(one["chosen"]["auto"]) == runs
    assert saved["machine"]["cores"]


def test_a_part_of_the_adapters_has_a_file_of_its_own_and_a_wrong_name_is_refused(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jda, "carry_over", pretend)
    monkeypatch.setattr(jda, "RESULT", tmp_path / "result.json")
    command = ["benchmark", "--data", str(data), "--seeds", "1", "--save", "--methods"]
    monkeypatch.setattr(sys, "argv", [*command, "mcc,shot_im"])
    jda.main()
    assert [file.name for file in tmp_path.glob("*.json")] == ["result_part.json"]
    monkeypatch.setattr(sys, "argv", [*command, "mc"])
    with pytest.raises(UserError, match=r"--methods is 'mc', .* did you mean 'mcc'"):
        jda.main()


@pytest.mark.parametrize(("module", "file"), [(jda, "mnist"), (vendors, "google"), (do_no_harm, "mnist")])
def test_a_folder_without_the_files_is_one_sentence(tmp_path, monkeypatch, module, file):
    monkeypatch.setattr(sys, "argv", ["benchmark", "--data", str(tmp_path / "nowhere")])
    with pytest.raises(UserError, match=rf"{file}\.parquet is missing: name with --data"):
        module.main()
