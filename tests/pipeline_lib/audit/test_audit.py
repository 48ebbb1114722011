import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipeline_lib.audit import duplicates
from pipeline_lib.audit.audit import Seen, audit, flat
from pipeline_lib.audit.findings import find, refuse_blocking
from pipeline_lib.audit.labels import skew
from pipeline_lib.core.errors import UserError
from pipeline_lib.data.ingest import ingest
from pipeline_lib.data.roles import Role, read_roles
from pipeline_lib.data.samples import Reading, Sample
from pipeline_lib.labels import KINDS
from tests.pipeline_lib.audit.roles import role, squares

SETTINGS: dict[str, Any] = {"sample": 50, "permutations": 20, "seed": 0}
NOTHING = dict.fromkeys(
    ("domain_auc", "duplicates_across", "near_duplicates_across", "near_leaks", "label_errors", "imbalance")
)


@pytest.fixture(scope="module")
def source() -> Role:
    images, places = squares(120)
    kinds = {"place": "multiclass", "size": "regression"}
    return role("source", {"a": images}, {"place": places, "size": np.ones(120)}, kinds)


@pytest.fixture(scope="module")
def target() -> Role:
    images, places = squares(60, seed=1)
    return role("target", {"t": 255 - images}, {"place": places})


def sentences(result: dict[str, Any], level: str, refuse: dict[str, Any] = NOTHING) -> str:
    return " | ".join(finding["sentence"] for finding in find(result, refuse) if finding["level"] == level)


def test_skew_of_even_and_uneven_classes() -> None:
    assert skew(np.array([7, 7, 7])) == {"imbalance": 1.0, "effective_classes": pytest.approx(3)}
    shares = np.array([0.9, 0.1])
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert skew(np.array([90, 10])) == {"imbalance": 9.0, "effective_classes": pytest.approx(expected)}
    assert skew(np.array([])) == {"imbalance": None, "effective_classes": None}


def test_duplicates_are_equal_pixels_that_are_not_blank() -> None:
    images = np.zeros((6, 4, 4, 1), np.uint8)
    images[1, 0, 0], images[2, 0, 0], images[3, 0, 1], images[4] = 9, 9, 9, 200
    found = duplicates.digests(images)
    assert [digest is None for digest in found] == [True, False, False, False, True, True]
    assert duplicates.within(found) == 1
    assert duplicates.across(found[:2], found[2:]) == [(1, 0)]
    assert duplicates.across(found, found) == [(1, 1), (1, 2), (3, 3)]


def test_the_audit_sees_shift_only_where_there_is_one(source: Role, target: Role) -> None:
    shifted = audit(source, target, **SETTINGS)
    assert shifted["shift"]["domain_auc"] > 0.99 and shifted["shift"]["mmd_p_value"] < 0.05
    images, _ = squares(60, seed=1)
    same = audit(source, role("target", {"t": images}), **SETTINGS)
    assert abs(same["shift"]["domain_auc"] - 0.5) < 0.15
    assert same["shift"]["frechet_distance"] < shifted["shift"]["frechet_distance"] / 10
    assert "area under the curve" in sentences(shifted, "warning")
    assert "area under the curve" in sentences(same, "info")


def test_the_audit_counts_duplicates_within_across_and_between_splits() -> None:
    images, _ = squares(40)
    split = ["train"] * 20 + ["test"] * 20
    images[1], images[25] = images[0], images[3]
    other, _ = squares(40, seed=1)
    other[7], other[8] = images[5], images[5]
    result = audit(role("source", {"a": images}, split=split), role("target", {"t": other}), **SETTINGS)
    assert result["duplicates_across"] == {"count": 2, "examples": [["a/5", "t/7"], ["a/5", "t/8"]]}
    assert result["sets"]["source"]["duplicates_within"] == 2
    assert result["sets"]["source"]["duplicates_across_splits"] == 1
    assert "2 images of the target are also in the source" in sentences(result, "warning")
    assert "1 image of the source is in the test split and" in sentences(result, "warning")


def test_the_audit_counts_near_duplicates_across_and_between_splits() -> None:
    def pictures(seed: int) -> np.ndarray:
        noise = gaussian_filter(np.random.default_rng(seed).normal(size=(80, 24, 24)), (0, 2.5, 2.5))
        return (128 + 45 * noise / noise.std()).clip(0, 255).astype(np.uint8)

    images, other = pictures(0), pictures(1)
    split = ["train"] * 40 + ["test"] * 40
    images[70], images[71], other[7] = images[3] // 2 + 20, images[50] // 2 + 20, images[5] // 2 + 20
    result = audit(role("source", {"a": images}, split=split), role("target", {"t": other}), **SETTINGS)
    across, source = result["near_duplicates_across"], result["sets"]["source"]
    assert across["count"] == 1 and across["examples"] == [["a/5", "t/7"]]
    assert source["near_leaks"]["examples"] == [["a/3", "a/70"]] and source["near_leaks"]["num_images"] == 40
    assert source["near_duplicates_within"]["count"] == 2
    assert flat(result)["near_duplicates_across"] == 1 and flat(result)["source_near_leaks"] == 1
    assert flat(result)["target_near_leaks"] == 0 and result["duplicates_across"]["count"] == 0
    warned = sentences(result, "warning")
    assert "1 image of the target has a near duplicate in the source (such as t/7, which is like a/5)" in warned
    assert "1 image of the source's test split has a near duplicate in its train split" in warned
    assert "false alarms are expected" in warned
    for knob in ("near_duplicates_across", "near_leaks"):
        refuse_blocking(find(result, {**NOTHING, knob: 1}))
        with pytest.raises(UserError, match=rf"above audit\.refuse\.{knob} = 0: mend"):
            refuse_blocking(find(result, {**NOTHING, knob: 0}))


def test_as_many_near_duplicates_as_chance_gives_are_no_warning() -> None:
    source, target = role("source", {"a": squares(60)[0]}), role("target", {"t": squares(60, seed=1)[0]})
    result = audit(source, target, **SETTINGS)
    for count, expected, level in ((3, 1.0, "info"), (9, 1.0, "warning"), (9, 9.0, "info")):
        near = {"count": count, "num_images": 60, "examples": [["a/1", "t/1"]]}
        result["near_duplicates_across"] = {**near, "expected_recall": {"cropped": 0.9}, "expected_false": expected}
        assert f"{count} images of the target have a near duplicate" in sentences(result, level)


def test_labels_are_described_and_the_target_may_have_none(source: Role) -> None:
    result = audit(source, role("target", {"t": squares(30, seed=2)[0]}), **SETTINGS)
    described = result["sets"]["source"]
    assert described["labels"]["place"]["imbalance"] >= 1 and described["labels"]["place"]["effective_classes"] <= 3
    assert described["labels"]["size"]["mean"] == 1 and "imbalance" not in described["labels"]["size"]
    assert set(described["label_errors"]) == {"place"}
    assert result["sets"]["target"]["labels"] == {} == result["sets"]["target"]["label_errors"]
    assert "the target has no labels" in sentences(result, "warning")


def test_findings_name_what_is_odd_about_the_labels() -> None:
    images, places = squares(60)
    source = role("source", {"a": images}, {"place": ["at 0"] * 57 + ["at 1"] * 2 + [None], "one": ["x"] * 60})
    target = role("target", {"t": squares(30, seed=2)[0]}, {"place": ["new", *places[:29]]})
    result = audit(source, target, **SETTINGS)
    warned = sentences(result, "warning")
    assert "the largest class 'at 0' of the label 'place' has 28.5 times" in warned
    assert "the label 'one' of the source has only the class 'x'" in warned
    assert "classes of the label 'place' that the target has" in warned and "new" in warned
    assert "1 image of the source is without the label 'place'" in sentences(result, "info")


@pytest.mark.parametrize("knob", [knob for knob in NOTHING if not knob.startswith("near")])
def test_a_limit_turns_a_finding_into_an_error_that_names_the_knob(knob: str) -> None:
    images, places = squares(400)
    # Labels of every seventh are another, and one class is rarer.
    given = [f"at {(int(name[-1]) + 1) % 3}" if row % 7 == 0 else name for row, name in enumerate(places)]
    other = 255 - squares(50, seed=1)[0]
    other[0] = images[0]
    result = audit(role("source", {"a": images}, {"place": given}), role("target", {"t": other}), **SETTINGS)
    values = {**result["shift"], "duplicates_across": 1, "label_errors": flat(result)["source_label_errors_place"],
              "imbalance": flat(result)["source_imbalance_place"]}  # fmt: skip
    refuse_blocking(find(result, {**NOTHING, knob: values[knob]}))
    limit = 0 if knob == "duplicates_across" else values[knob] * 0.99
    with pytest.raises(UserError, match=rf"above audit\.refuse\.{knob} = .*: mend"):
        refuse_blocking(find(result, {**NOTHING, knob: limit}))


def test_the_targets_labels_neither_block_nor_reach_the_metrics(source: Role) -> None:
    images, places = squares(60, seed=1)
    results = [
        audit(source, role("target", {"t": images}, {"place": names}), **SETTINGS)
        for names in (places, ["at 0"] * 50 + places[50:], [None] * 60)
    ]
    assert flat(results[0]) == flat(results[1]) == flat(results[2])
    strict = {"domain_auc": None, "duplicates_across": None, "label_errors": 0.0, "imbalance": 5.0}
    assert results[1]["sets"]["target"]["labels"]["place"]["imbalance"] > 5
    refuse_blocking(find(results[1], strict))


def test_label_errors_and_a_second_shift_are_of_the_features_of_an_encoder_that_is_given() -> None:
    rng = np.random.default_rng(0)
    noise, other = rng.integers(0, 255, (200, 12, 12), np.uint8), rng.integers(0, 255, (80, 12, 12), np.uint8)
    truth = np.arange(200) % 3
    given = np.where(np.arange(200) < 30, (truth + 1) % 3, truth)
    source = role("source", {"a": noise}, {"place": [f"at {place}" for place in given]})
    target = role("target", {"t": other})
    # To this encoder the classes are as far apart as can be, and so are the domains; pixels know of neither.
    features = [np.eye(4)[truth], np.eye(4)[np.full(80, 3)]]
    seen = Seen("mine", [part + rng.normal(0, 0.01, part.shape) for part in features])
    by_pixels, by_mine = audit(source, target, **SETTINGS), audit(source, target, **SETTINGS, seen=seen)
    assert by_pixels["sets"]["source"]["label_errors"]["place"]["count"] == 0
    found = by_mine["sets"]["source"]["label_errors"]["place"]
    assert {one["id"] for one in found["worst"]} <= {f"a/{row}" for row in range(30)} and found["count"] >= 25
    assert "look wrong beside the images most like theirs by the features of mine (" in sentences(by_mine, "warning")
    assert "by the features of mine a linear classifier tells target from source" in sentences(by_mine, "info")
    assert by_pixels["features"] == {"name": "pixels", "shift": None} and by_mine["features"]["name"] == "mine"
    assert flat(by_mine)["features_domain_auc"] == by_mine["features"]["shift"]["domain_auc"] > 0.99
    assert flat(by_mine)["domain_auc"] < 0.7
    # All else is of pixels.
    for result in (by_pixels, by_mine):
        del result["features"], result["sets"]["source"]["label_errors"]
    assert by_mine == by_pixels


def test_two_images_and_blank_ones_are_enough_to_say_so() -> None:
    blank = role("source", {"a": np.zeros((3, 8, 8), np.uint8)}, {"kind": ["a", "b", None]})
    one = role("target", {"t": np.full((1, 8, 8), 9, np.uint8)})
    result = audit(blank, one, **SETTINGS)
    assert result["sets"]["source"]["blank"] == 3 and result["duplicates_across"]["count"] == 0
    assert "too few images" in sentences(result, "warning") and "3 images of the source are blank" in sentences(
        result, "warning"
    )
    assert all(value is None or isinstance(value, (int, float)) for value in flat(result).values())


def test_datasets_of_a_role_are_counted_by_themselves() -> None:
    images, places = squares(50)
    labels = {"place": [*places[:30], *[None] * 20]}
    split = ["train"] * 20 + ["test"] * 20 + ["train"] * 10
    source = role("source", {"a": images[:30], "b": images[30:]}, labels, split=split)
    described = audit(source, role("target", {"t": squares(20, seed=1)[0]}), **SETTINGS)["sets"]["source"]
    assert described["num_images"] == 50
    assert described["labels"]["place"]["num_missing"] == 20
    assert described["datasets"]["a"] == {
        "num_images": 30, "train": 20, "test": 10, "quarantined": 0, "blank": 0, "labelled": {"place": 30},
    }  # fmt: skip
    assert described["datasets"]["b"]["test"] == 10 and described["datasets"]["b"]["labelled"] == {"place": 0}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("multiclass", ["a", "b", None, "a"]),
        ("binary", ["no", "yes", "yes", None]),
        ("ordinal", ["1", "2", "3", "10"]),
        ("multilabel", ["a;b", "a", ";", None]),
        ("multilabel", [";", ";", ";", ";"]),
        ("regression", [1.0, np.nan, 2.0, 3.0]),
        ("regression", [np.nan] * 4),
        ("multiclass", [None] * 4),
    ],
)
@pytest.mark.parametrize("repeats", [1, 10])
def test_labels_of_every_kind_are_described(kind: str, values: list[Any], repeats: int) -> None:
    def labelled(name: str, seed: int) -> Role:
        return role(name, {name: squares(4 * repeats, seed=seed)[0]}, {"it": values * repeats}, {"it": kind})

    result = audit(labelled("source", 0), labelled("target", 1), **SETTINGS)
    assert result["sets"]["source"]["labels"]["it"]["kind"] == kind
    assert set(result["sets"]["source"]["label_errors"]) == ({"it"} if KINDS[kind].has_classes else set())
    assert all(isinstance(finding["sentence"], str) for finding in find(result, NOTHING))
    assert all(value is None or isinstance(value, (int, float)) for value in flat(result).values())


def test_tags_are_counted_as_tags() -> None:
    tags = ["common"] * 50 + ["common;rare"] * 2 + [";"] * 8
    source = role("source", {"a": squares(60)[0]}, {"what": tags}, {"what": "multilabel"})
    result = audit(source, role("target", {"t": squares(20, seed=1)[0]}), **SETTINGS)
    assert "the most frequent tag 'common' of the label 'what' has 26 times" in sentences(result, "warning")


def test_a_label_that_no_dataset_of_a_role_has_is_not_described() -> None:
    images, places = squares(30)
    target = role("target", {"t": squares(20, seed=1)[0]}, {"place": [None] * 20})
    target.cards["t"]["labels"].clear()
    result = audit(role("source", {"a": images}, {"place": places}), target, **SETTINGS)
    assert result["sets"]["target"]["labels"] == {}
    assert "the target has no labels, so what carries over" in sentences(result, "warning")
    assert "lacks classes" not in sentences(result, "warning")


def test_images_that_both_roles_have_are_said() -> None:
    images, _ = squares(40)
    split = ["train"] * 20 + ["test"] * 20
    hashes = [f"hash {row}" for row in range(40)]
    roles = [role(name, {name: images}, split=split, keys=hashes) for name in ("source", "target")]
    both = audit(roles[0], roles[1], **SETTINGS)
    assert both["same_images"] and both["shared"] == 20
    assert both["shift"]["domain_auc"] == pytest.approx(0.5, abs=0.01)
    assert "source and target are the same images" in sentences(both, "warning")
    groups = [f"patient {row // 4}" for row in range(40)]
    source = role("source", {"a": images}, split=split, keys=groups)
    target = role("target", {"t": squares(40, seed=1)[0]}, split=split, keys=groups)
    by_group = audit(source, target, **SETTINGS)
    assert by_group["shared"] == flat(by_group)["shared"] == 20 and not by_group["same_images"]
    assert "20 test images of the target are also in the source" in sentences(by_group, "info")


def test_images_that_another_dataset_made_test_images_are_counted() -> None:
    source = replace(role("source", {"a": squares(20)[0]}), moved=3)
    result = audit(source, role("target", {"t": squares(20, seed=1)[0]}), **SETTINGS)
    assert flat(result)["source_moved"] == 3 and flat(result)["target_moved"] == 0
    assert "3 training images of the source became test images, because their group" in sentences(result, "info")


def test_roles_of_ingested_datasets_are_audited(tmp_path: Path) -> None:
    images, places = squares(40)
    for name, rows in (("a", slice(0, 20)), ("b", slice(20, 40)), ("t", slice(10, 30))):
        samples = [
            Sample(f"{row}.png", lambda image=image: Image.fromarray(image), {"place": place})
            for row, (image, place) in enumerate(zip(images[rows], places[rows], strict=True))
        ]
        ingest(
            Reading(samples, ("place",)), {"place": "multiclass"}, tmp_path / name, size=12, channels=1, content=12,
            background=0, invert=False, max_broken=0, test_fraction=0.5, limit=None, seed=0,
        )  # fmt: skip
    result = audit(*read_roles(tmp_path, ["a", "b"], ["t"], ["place"]), **SETTINGS)
    assert result["duplicates_across"]["count"] == 20
    assert result["shared"] == result["sets"]["target"]["datasets"]["t"]["test"]
    assert set(result["sets"]["source"]["datasets"]) == {"a", "b"}


def test_one_image_in_a_domain_and_a_class_for_each_image_are_said() -> None:
    num = 120
    labels = {"what": [f"class {row}" for row in range(num)], "who": ["a", "b"] * (num // 2)}
    one = role("target", {"t": squares(1)[0]}, {"what": ["class 0"], "who": ["c"]})
    result = audit(role("source", {"a": squares(num)[0]}, labels), one, **SETTINGS)
    assert "too few images" in sentences(result, "warning")
    assert result["sets"]["source"]["label_errors"]["what"]["num_judged"] == 0 and result["priors"]["what"] is None
    assert all({"about", "effect", "advice"} <= set(finding) for finding in find(result, NOTHING))
