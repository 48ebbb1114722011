import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightly.utils.benchmarking import knn_predict
from torch import nn

from pipeline_lib.core.errors import UserError
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.training.probe import FeatureProbe, knn_classes
from pipeline_lib.training.watch import describe_features, refuse_collapse
from tests.pipeline_lib.training.sets import random_images, stored


def test_features_that_fill_their_space_have_full_rank_and_a_healthy_spread() -> None:
    torch.manual_seed(0)
    found = describe_features(torch.randn(5000, 16))
    assert 15.5 < found["rank"] <= 16
    assert abs(found["feature_std"] - 1) < 0.05


def test_features_on_a_line_have_rank_one() -> None:
    torch.manual_seed(0)
    found = describe_features(torch.randn(500, 1) @ torch.randn(1, 16))
    assert math.isclose(found["rank"], 1, abs_tol=1e-3)


def test_a_collapse_is_refused_and_says_what_was_seen() -> None:
    torch.manual_seed(0)
    healthy = torch.rand(500, 16)
    refuse_collapse(describe_features(healthy), "pretrain")
    collapsed = torch.rand(1, 16) + healthy * 1e-3
    with pytest.raises(UserError, match=r"pretrain has collapsed: .* healthy spread \(effective rank 1\.0\)"):
        refuse_collapse(describe_features(collapsed), "pretrain")


def test_features_that_are_not_finite_count_as_a_collapse() -> None:
    with pytest.raises(UserError, match="collapsed"):
        refuse_collapse({"rank": math.nan, "feature_std": math.nan}, "pretrain")


def test_the_vote_of_neighbours_is_lightlys() -> None:
    torch.manual_seed(0)
    bank, queries, labels = torch.randn(300, 8), torch.randn(50, 8), torch.randint(0, 5, (300,))
    unit = nn.functional.normalize
    expected = knn_predict(unit(queries, dim=1), unit(bank, dim=1).T, labels, num_classes=5, knn_k=200, knn_t=0.1)
    assert torch.equal(knn_classes(bank, labels, queries), expected[:, 0])


def test_the_probe_tells_apart_what_the_features_tell_apart_and_leaves_the_encoder_as_it_was(tmp_path: Path) -> None:
    labels = torch.arange(60) % 2
    images = np.random.default_rng(0).integers(0, 40, (60, 12, 12, 1), dtype=np.uint8)
    images[labels == 1] += 200
    torch.manual_seed(0)
    encoder = Encoder("small_cnn", 1, 12, [0.5], [0.3]).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    bank, queries = (stored(tmp_path, images, np.arange(start, start + 30)) for start in (0, 30))
    found = FeatureProbe(encoder, bank, queries, labels[:30], labels[30:])()
    assert found["knn"] == 1.0
    assert encoder.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert "knn" not in FeatureProbe(encoder, bank)()


def constant(encoder: Encoder) -> Encoder:
    """Make the features of all images the same."""
    last = encoder.backbone[-3]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.ones_(encoder.backbone[-2].bias)
    return encoder


@pytest.mark.parametrize("alike", ["one", "equal", "nearly"])
def test_images_that_are_alike_are_no_collapse(tmp_path: Path, alike: str) -> None:
    encoder = Encoder("small_cnn", 1, 12, [0.5], [0.3])
    images = random_images(1, 12, 1).repeat(1 if alike == "one" else 300, axis=0)
    if alike == "nearly":
        images[::2, 0, 0] ^= 3
    found = FeatureProbe(encoder, stored(tmp_path, images))()
    assert found["feature_std"] < 0.01
    assert all(math.isfinite(value) for value in found.values())


def test_features_that_are_alike_of_images_that_differ_are_a_collapse(tmp_path: Path) -> None:
    probe = FeatureProbe(
        constant(Encoder("small_cnn", 1, 12, [0.5], [0.3])), stored(tmp_path, random_images(300, 12, 1))
    )
    with pytest.raises(UserError, match=r"lower lr or choose another method$") as error:
        probe()
    assert "params.yaml" not in str(error.value)
