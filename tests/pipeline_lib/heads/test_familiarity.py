from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance

from pipeline_lib.data.rows import Images, Rows
from pipeline_lib.encoders.inference import features
from pipeline_lib.heads import familiarity as module
from pipeline_lib.heads.familiarity import FALSE_ALARMS, Familiarity, familiarity, load_familiarity
from tests.pipeline_lib.encoders.toy import encoder_for

CPU = torch.device("cpu")


def rows(folder: Path, num: int, seed: int, light: int = 60) -> Rows:
    images = np.random.default_rng(seed).integers(0, light, (num, 12, 12, 1), np.uint8)
    np.save(folder / f"{seed}.npy", images)
    return Rows(Images(folder / f"{seed}.npy"), np.arange(num))


@pytest.fixture
def domains(tmp_path: Path) -> list[Rows]:
    return [rows(tmp_path, 300, 1), rows(tmp_path, 40, 2, light=200)]


@pytest.fixture
def held_out(tmp_path: Path) -> list[Rows]:
    return [rows(tmp_path, 200, 3), rows(tmp_path, 100, 4, light=200)]


def test_distances_are_mahalanobis_distances_of_square_roots(
    domains: list[Rows], held_out: list[Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXPLAINED", 1.0)
    encoder = encoder_for("small_cnn", 1, 12)
    found = familiarity(encoder, domains, held_out, CPU, 64, 0)
    assert found is not None
    known, new = (np.concatenate([features(encoder, part, CPU, 64) for part in parts]) for parts in (domains, held_out))
    even = [np.sign(x) * np.sqrt(np.abs(x)) for x in (known.astype(np.float64), new.astype(np.float64))]
    spread = even[0].std(axis=0) > 1e-6  # of features that are not always 0
    reference = EmpiricalCovariance().fit(even[0][:, spread]).mahalanobis(even[1][:, spread]) ** 0.5
    np.testing.assert_allclose(found.distances(torch.from_numpy(new)), reference, rtol=1e-2)


def test_the_threshold_keeps_false_alarms_down_in_every_domain(domains: list[Rows], held_out: list[Rows]) -> None:
    encoder = encoder_for("small_cnn", 1, 12)
    found = familiarity(encoder, domains, held_out, CPU, 64, 0)
    assert found is not None
    shares = [
        float((found.distances(torch.from_numpy(features(encoder, part, CPU, 64))) > found.threshold).float().mean())
        for part in held_out
    ]
    assert max(shares) == pytest.approx(FALSE_ALARMS, abs=0.005)


def test_it_is_the_same_again_and_after_writing(domains: list[Rows], held_out: list[Rows], tmp_path: Path) -> None:
    first, second = (familiarity(encoder_for("small_cnn", 1, 12), domains, held_out, CPU, 64, 0) for _ in range(2))
    assert first is not None and second is not None
    for found in (first, second):
        (tmp_path / str(id(found))).mkdir()
        found.save(tmp_path / str(id(found)))
    written = [(tmp_path / str(id(found)) / module.FAMILIARITY).read_bytes() for found in (first, second)]
    assert written[0] == written[1]
    read = load_familiarity(tmp_path / str(id(first)))
    assert read is not None and read.threshold == first.threshold
    assert torch.equal(read.directions, first.directions) and torch.equal(read.mean, first.mean)
    assert load_familiarity(tmp_path) is None


def test_a_small_domain_counts_as_much_as_a_large_one(
    domains: list[Rows], held_out: list[Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a domain no more is drawn than a bound, so that the large one does not drown the other."""
    monkeypatch.setattr(module, "MOST_IMAGES", 40)
    encoder = encoder_for("small_cnn", 1, 12)
    found = familiarity(encoder, domains, held_out, CPU, 64, 0)
    assert found is not None
    means = [torch.from_numpy(features(encoder, part, CPU, 64)) for part in domains]
    roots = [(x.sign() * x.abs().sqrt()).mean(dim=0) for x in means]
    apart = [float((found.mean - root).norm()) for root in roots]
    assert apart[0] == pytest.approx(apart[1], rel=0.3)


def test_nothing_to_compare_with_is_none(domains: list[Rows], held_out: list[Rows]) -> None:
    few = [Rows(part.images, part.rows[: module.LEAST_HELD_OUT - 1]) for part in held_out]
    none = [Rows(part.images, part.rows[:0]) for part in domains]
    assert familiarity(encoder_for("small_cnn", 1, 12), domains, few, CPU, 64, 0) is None
    assert familiarity(encoder_for("small_cnn", 1, 12), none, held_out, CPU, 64, 0) is None


@pytest.mark.parametrize("num", [1, 2, 5])
def test_few_known_images_give_finite_distances(num: int, domains: list[Rows], held_out: list[Rows]) -> None:
    few = [Rows(domains[0].images, np.arange(num))]
    found = familiarity(encoder_for("small_cnn", 1, 12), few, held_out, CPU, 64, 0)
    assert isinstance(found, Familiarity) and np.isfinite(found.threshold)
