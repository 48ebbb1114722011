from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json
from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.encoder import from_config, save_model
from pipeline_lib.encoders.inference import features
from tasks.roles import read_both
from tasks.settings import read_settings
from tests.tasks.project import PARAMS, bytes_of, change_label, copied, ingested, run, shuffled, write_params

RECIPE = {"encoder": "small_cnn", "channels": 1, "size": 12, "mean": [0.2], "std": [0.2], "stem": None}
OTHER = {"encoder": "small_cnn", "weights": "other.safetensors"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        folder = ingested(tmp_path_factory.mktemp("compare"), patch)
        save_model(Path("weights"), from_config(RECIPE, 5).backbone, {})
        Path("weights/model.safetensors").rename("weights/other.safetensors")
        return folder


@pytest.fixture(autouse=True)
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(finished, tmp_path, monkeypatch)


def write(**encoders: Any) -> None:
    write_params(compare={"path": "weights", "encoders": encoders})


def described() -> list[dict[str, Any]]:
    return read_json(Path("features/compared/card.json"))["probed"]


def test_features_are_those_of_the_named_weights_for_all_target_images() -> None:
    from tasks.compare import Settings

    write(other=OTHER, larger={**OTHER, "size": 16})
    run("compare")
    assert [(row["name"], row["dim"]) for row in described()] == [("other", 128), ("larger", 128)]
    assert "small_cnn with the weights other.safetensors" in described()[0]["what"]
    _, target = read_both(read_settings(Settings))
    # A file says no mean and spread, so they are the images' own.
    encoder = from_config({**RECIPE, "mean": target.mean, "std": target.std}, 5)
    expected = features(encoder, Rows(target.images, np.arange(len(target))), torch.device("cpu"), 512)
    found = {name: np.load(f"features/compared/target/{name}.npy") for name in ("other", "larger")}
    np.testing.assert_allclose(found["other"], expected, rtol=1e-4, atol=1e-5)
    assert found["larger"].shape == found["other"].shape and not np.allclose(found["larger"], found["other"])


def test_without_encoders_nothing_is_compared_with() -> None:
    run("compare")
    assert described() == [] and not Path("features/compared/target").exists()


def test_no_label_matters_and_the_same_images_give_the_same_bytes() -> None:
    write(other=OTHER)
    run("compare")
    before = bytes_of("features")
    for dataset in PARAMS["datasets"]:
        for split in ("train", "test"):
            change_label(dataset, "place", split, shuffled)
    run("compare")
    assert bytes_of("features") == before


def test_a_mistake_is_one_sentence_and_leaves_the_last_good_features() -> None:
    write(other=OTHER)
    run("compare")
    before = bytes_of("features")
    with torch.no_grad():
        broken = from_config(RECIPE, 5).backbone
        for parameter in broken.parameters():
            parameter.fill_(1e30)
    torch.save(broken.state_dict(), "weights/broken.pth")
    for encoders, words in (
        ({"gone": {**OTHER, "weights": "gone.pth"}}, r"encoders\.gone\.weights is 'gone\.pth', which is not in"),
        ({"other": {**OTHER, "encoder": "small_vit"}}, r"encoders\.other: .*does not fit small_vit"),
        ({"broken": {**OTHER, "weights": "broken.pth"}}, r"encoders\.broken: the features of small_cnn are not finite"),
    ):
        write(**encoders)
        with pytest.raises(UserError, match=rf"^compare in params\.yaml: {words}"):
            run("compare")
        assert bytes_of("features") == before


@pytest.mark.parametrize("name", ["pixels", "scratch", "constant"])
def test_names_that_are_taken_are_refused(name: str) -> None:
    write(**{name: OTHER})
    with pytest.raises(UserError, match=rf"compare: encoders has the name '{name}', which is taken"):
        run("compare")
