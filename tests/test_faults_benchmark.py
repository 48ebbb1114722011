import numpy as np
from PIL import Image

from benchmarks import faults
from pipeline_lib.audit.alterations import ALTERATIONS


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
