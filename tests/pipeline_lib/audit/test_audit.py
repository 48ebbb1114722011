import math
from typing import Any

import numpy as np
import pytest

from pipeline_lib.audit import duplicates
from pipeline_lib.audit.audit import audit, flat
from pipeline_lib.audit.findings import find, refuse_blocking
from pipeline_lib.audit.labels import skew, suspected_errors
from pipeline_lib.audit.pixels import pixel_components, pixels
from pipeline_lib.core.errors import UserError
from pipeline_lib.data.dataset import Dataset
from tests.pipeline_lib.sets import dataset, squares

SETTINGS: dict[str, Any] = {"sample": 50, "permutations": 20, "seed": 0}
NOTHING = dict.fromkeys(("domain_auc", "duplicates_across", "label_errors", "imbalance"))


@pytest.fixture(scope="module")
def source() -> Dataset:
    images, places = squares(120)
    return dataset(images, {"place": places, "size": [1.0] * 120}, {"place": "multiclass", "size": "regression"})


@pytest.fixture(scope="module")
def target() -> Dataset:
    images, places = squares(60, seed=1)
    return dataset(255 - images, {"place": places})


def sentences(result: dict[str, Any], level: str, refuse: dict[str, Any] = NOTHING) -> str:
    return " | ".join(finding["sentence"] for finding in find(result, refuse) if finding["level"] == level)


def test_skew_of_even_and_uneven_classes() -> None:
    assert skew(np.array([7, 7, 7])) == {"imbalance": 1.0, "effective_classes": pytest.approx(3)}
    shares = np.array([0.9, 0.1])
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert skew(np.array([90, 10])) == {"imbalance": 9.0, "effective_classes": pytest.approx(expected)}
    assert skew(np.array([])) == {"imbalance": None, "effective_classes": None}


def test_flipped_labels_are_suspected_and_corrected() -> None:
    images, places = squares(300)
    given = np.array(places, dtype=object)
    flipped = np.arange(0, 300, 20)
    given[flipped] = ["at 0" if name != "at 0" else "at 1" for name in given[flipped]]
    (features,) = pixel_components([dataset(images).images], 0)
    found = suspected_errors(features, given, 0)
    assert not set(found["suspected"]) - set(flipped) and len(found["suspected"]) >= 0.9 * len(flipped)
    assert [str(name) for name in found["suggested"]] == [places[row] for row in found["suspected"]]
    assert len(found["judged"]) == 300


def test_nulls_and_rare_classes_are_not_judged() -> None:
    images, places = squares(100)
    given = np.array(places, dtype=object)
    given[:10], given[10], given[11:15] = None, "alone", float("nan")
    (features,) = pixel_components([dataset(images).images], 0)
    found = suspected_errors(features, given, 0)
    assert set(found["judged"]) == set(range(15, 100)) and not set(found["suspected"]) - set(found["judged"])


@pytest.mark.parametrize("given", [[None] * 20, ["a"] * 20, ["a"] * 16 + ["b"] * 4, [str(i) for i in range(20)]])
def test_labels_that_cannot_be_judged_are_not_suspected(given: list[Any]) -> None:
    found = suspected_errors(np.random.default_rng(0).normal(size=(20, 3)), np.array(given, dtype=object), 0)
    assert {name: len(values) for name, values in found.items()} == {"judged": 0, "suspected": 0, "suggested": 0}


def test_duplicates_are_equal_pixels_that_are_not_blank() -> None:
    images = np.zeros((6, 4, 4, 1), np.uint8)
    images[1, 0, 0], images[2, 0, 0], images[3, 0, 1], images[4] = 9, 9, 9, 200
    found = duplicates.digests(images)
    assert [digest is None for digest in found] == [True, False, False, False, True, True]
    assert duplicates.within(found) == 1
    assert duplicates.across(found[:2], found[2:]) == [(1, 0)]
    assert duplicates.across(found, found) == [(1, 1), (1, 2), (3, 3)]


def test_pixels_are_averaged_down_to_32_px() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    small = pixels(images).reshape(2, 32, 32, 3)
    np.testing.assert_allclose(small, images.reshape(2, 32, 2, 32, 2, 3).mean(axis=(2, 4)) / 255, atol=0.51 / 255)
    assert pixels(images[:, :33, :33, :1]).shape == (2, 17 * 17)
    assert (pixels(images[:, :32, :32]).reshape(2, 32, 32, 3) == images[:, :32, :32].astype(np.float32) / 255).all()


def test_components_keep_distances_and_are_the_same_every_time(source: Dataset, target: Dataset) -> None:
    one, two = pixel_components([source.images, target.images], 0, num_components=144)
    flat_images = pixels(source.images)
    expected = np.linalg.norm(flat_images[:5, None] - flat_images[None, 5:10], axis=2)
    np.testing.assert_allclose(np.linalg.norm(one[:5, None] - one[None, 5:10], axis=2), expected, rtol=1e-3)
    again = pixel_components([source.images, target.images], 0, num_components=144)
    assert (one == again[0]).all() and (two == again[1]).all()


def test_the_audit_sees_shift_only_where_there_is_one(source: Dataset, target: Dataset) -> None:
    shifted = audit(source, target, **SETTINGS)
    assert shifted["shift"]["domain_auc"] > 0.99 and shifted["shift"]["mmd_p_value"] < 0.05
    images, _ = squares(60, seed=1)
    same = audit(source, dataset(images), **SETTINGS)
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
    result = audit(dataset(images, split=split), dataset(other), **SETTINGS)
    assert result["duplicates_across"] == {"count": 2, "examples": [["0000005", "0000007"], ["0000005", "0000008"]]}
    assert result["sets"]["source"]["duplicates_within"] == 2
    assert result["sets"]["source"]["duplicates_across_splits"] == 1
    assert "2 images of the target are also in the source" in sentences(result, "warning")
    assert "1 image of the source is in the test split and" in sentences(result, "warning")


def test_labels_are_described_and_the_target_may_have_none(source: Dataset) -> None:
    result = audit(source, dataset(squares(30, seed=2)[0]), **SETTINGS)
    described = result["sets"]["source"]
    assert described["labels"]["place"]["imbalance"] >= 1 and described["labels"]["place"]["effective_classes"] <= 3
    assert described["labels"]["size"]["mean"] == 1 and "imbalance" not in described["labels"]["size"]
    assert set(described["label_errors"]) == {"place"}
    assert result["sets"]["target"]["labels"] == {} == result["sets"]["target"]["label_errors"]
    assert "the target has no labels" in sentences(result, "warning")


def test_findings_name_what_is_odd_about_the_labels() -> None:
    images, places = squares(60)
    source = dataset(images, {"place": ["at 0"] * 57 + ["at 1"] * 2 + [None], "one": ["x"] * 60})
    target = dataset(squares(30, seed=2)[0], {"place": ["new", *places[:29]]})
    result = audit(source, target, **SETTINGS)
    warned = sentences(result, "warning")
    assert "the largest class 'at 0' of the label 'place' has 28.5 times" in warned
    assert "the label 'one' of the source has only the class 'x'" in warned
    assert "classes of the label 'place' that the target has" in warned and "new" in warned
    assert "1 image of the source is without the label 'place'" in sentences(result, "info")


@pytest.mark.parametrize("knob", list(NOTHING))
def test_a_limit_turns_a_finding_into_an_error_that_names_the_knob(knob: str) -> None:
    images, places = squares(100)
    given = ["at 0" if row % 9 == 0 else name for row, name in enumerate(places)]
    other = 255 - squares(50, seed=1)[0]
    other[0] = images[0]
    result = audit(dataset(images, {"place": given}), dataset(other), **SETTINGS)
    values = {**result["shift"], "duplicates_across": 1, "label_errors": flat(result)["source_label_errors_place"],
              "imbalance": flat(result)["source_imbalance_place"]}  # fmt: skip
    refuse_blocking(find(result, {**NOTHING, knob: values[knob]}))
    limit = 0 if knob == "duplicates_across" else values[knob] * 0.99
    with pytest.raises(UserError, match=rf"above audit\.refuse\.{knob} = .* in params\.yaml"):
        refuse_blocking(find(result, {**NOTHING, knob: limit}))


def test_the_targets_labels_neither_block_nor_reach_the_metrics(source: Dataset) -> None:
    images, places = squares(60, seed=1)
    results = [
        audit(source, dataset(images, {"place": names}), **SETTINGS)
        for names in (places, ["at 0"] * 50 + places[50:], [None] * 60)
    ]
    assert flat(results[0]) == flat(results[1]) == flat(results[2])
    strict = {"domain_auc": None, "duplicates_across": None, "label_errors": 0.0, "imbalance": 5.0}
    assert results[1]["sets"]["target"]["labels"]["place"]["imbalance"] > 5
    refuse_blocking(find(results[1], strict))


def test_two_images_and_blank_ones_are_enough_to_say_so() -> None:
    blank = dataset(np.zeros((3, 8, 8), np.uint8), {"kind": ["a", "b", None]})
    one = dataset(np.full((1, 8, 8), 9, np.uint8))
    result = audit(blank, one, **SETTINGS)
    assert result["sets"]["source"]["blank"] == 3 and result["duplicates_across"]["count"] == 0
    assert "too few images" in sentences(result, "warning") and "3 images of the source are blank" in sentences(
        result, "warning"
    )
    assert all(value is None or isinstance(value, (int, float)) for value in flat(result).values())
