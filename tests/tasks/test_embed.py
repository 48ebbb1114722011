from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.core.files import read_json
from tests.tasks.project import (
    PARAMS,
    bytes_of,
    change_label,
    copied,
    drop_labels,
    ingested,
    run,
    shuffled,
    write_encoder,
    write_params,
)

NAMES = ["start", "pretrained", "supervised", "adapted"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project up to the adapted model, of two trainings."""
    with pytest.MonkeyPatch.context() as patch:
        folder = ingested(tmp_path_factory.mktemp("embed"), patch, labels={"place": "multiclass"}, seeds=[0, 7])
        for training in (0, 7):
            write_encoder(training)
        run("select", "heads", "adapt")
        return folder


@pytest.fixture(autouse=True)
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(finished, tmp_path, monkeypatch)


def features(training: int = 0, role: str = "target") -> dict[str, np.ndarray]:
    return {name: np.load(f"features/{training}/{role}/{name}.npy") for name in NAMES}


def test_every_representation_of_all_target_images_and_of_a_sample_of_the_source() -> None:
    run("embed")
    card = read_json(Path("features/0/card.json"))
    assert [row["name"] for row in card["representations"]] == NAMES
    assert {row["dim"] for row in card["representations"]} == {128}
    assert "its random weights" in card["representations"][0]["what"]
    sample = np.load("features/0/source/rows.npy")
    assert len(sample) == PARAMS["embed"]["source_sample"] < 60 and sorted(set(sample)) == list(sample)
    for role, num in (("target", 60), ("source", len(sample))):
        found = features(role=role)
        assert all(x.shape == (num, 128) and x.dtype == np.float32 for x in found.values())
        # No two are the same encoder.
        assert len({x.tobytes() for x in found.values()}) == len(NAMES)


def test_the_encoder_from_scratch_is_embedded_to_be_probed() -> None:
    run("embed")
    assert [row["name"] for row in read_json(Path("features/0/card.json"))["probed"]] == ["scratch"]
    # In this project it is what heads hand on.
    np.testing.assert_array_equal(np.load("features/0/target/scratch.npy"), features()["supervised"])
    write_params(heads={"strategies": ["frozen"], "use": "frozen"}, seeds=[0, 7])
    run("heads", "embed")
    assert read_json(Path("features/0/card.json"))["probed"] == []
    assert not Path("features/0/target/scratch.npy").exists()


def test_trainings_differ_on_the_same_images() -> None:
    run("embed")
    one, other = (np.load(f"features/{training}/source/rows.npy") for training in (0, 7))
    np.testing.assert_array_equal(one, other)
    for name in ("supervised", "adapted"):
        assert not np.array_equal(features(0)[name], features(7)[name])


@pytest.mark.parametrize(("size", "num"), [(2, 2), (1000, 60)])
def test_the_sample_of_the_source_is_no_larger_than_it(size: int, num: int) -> None:
    write_params(embed={"source_sample": size}, seeds=[0, 7])
    run("embed")
    assert len(np.load("features/0/source/rows.npy")) == num


def test_batches_do_not_matter_to_what_comes_out() -> None:
    run("embed")
    whole = features()
    write_params(embed={"batch_size": 7}, seeds=[0, 7])
    run("embed")
    for name, x in features().items():
        np.testing.assert_allclose(x, whole[name], rtol=1e-4, atol=1e-5)


def test_no_label_matters() -> None:
    run("embed")
    before = bytes_of("features")
    for dataset in PARAMS["datasets"]:
        for split in ("train", "test"):
            change_label(dataset, "place", split, shuffled)
    run("embed")
    assert bytes_of("features") == before
    for dataset in PARAMS["datasets"]:
        drop_labels(dataset, "place")
    run("embed")
    assert bytes_of("features") == before
