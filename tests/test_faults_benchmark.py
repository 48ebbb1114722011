import numpy as np
from PIL import Image

from benchmarks import faults, faults_of_labels
from pipeline_lib.audit.alterations import ALTERATIONS
from pipeline_lib.encoders.encoder import from_config


def test_scores_count_leaks_by_kind_and_what_is_unrelated():
    found = {0, *range(10, 14), 14, 15}
    scores = faults.score(found, num_unrelated=10, num_leaks=4)
    assert scores["exact"] == {"recall": 1.0, "precision": 0.8}
    assert scores["reencoded"] == {"recall": 0.5, "precision": 0.6667}
    assert scores["contrast"] == {"recall": 0.0, "precision": 0.0}
    assert list(scores) == list(ALTERATIONS)


def test_the_peer_finds_a_picture_of_other_contrast_and_no_other():
    rng = np.random.default_rng(0)
    small = rng.integers(30, 200, (6, 8, 8, 3), np.uint8)
    pictures = np.stack([np.asarray(Image.fromarray(one).resize((32, 32))) for one in small])
    target = np.concatenate([pictures[3:4] // 2, 255 - pictures[:1]])
    assert faults.hashed_alike(pictures, target, 6) == {0}
    assert faults.hashes(pictures).shape == (6, 64)


def test_labels_of_sets_that_pixels_tell_badly_are_judged_by_an_encoder_too():
    rng = np.random.default_rng(0)
    images, truth = rng.integers(0, 255, (60, 12, 12, 1), np.uint8), np.array(["a", "b"] * 30)
    one = faults_of_labels.Labelled(images, {"label": truth}, np.arange(60).astype(str))
    recipe = {"encoder": "small_cnn", "channels": 1, "size": 12, "mean": [0.2], "std": [0.2], "stem": None}
    found = faults_of_labels.label_errors({"digits": one, "cifar10": one}, 1, from_config(recipe, 0))
    assert list(found) == ["digits label", "cifar10 label", "cifar10 label by lite0"]
    assert found["digits label"] == found["cifar10 label"] != found["cifar10 label by lite0"]
    assert all(set(of_label) == {"0", "0.05", "0.1", "0.2"} for of_label in found.values())
    assert list(faults_of_labels.label_errors({"cifar10": one}, 1, None)) == ["cifar10 label"]
