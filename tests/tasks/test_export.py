import contextlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pipeline_lib.core.files import read_json, write_json
from pipeline_lib.data.dataset import read_dataset
from pipeline_lib.data.images import frame
from pipeline_lib.labels import KINDS
from pipeline_lib.use import to_onnx
from pipeline_lib.use.card import example
from pipeline_lib.use.model import load_usable
from tasks.export import main
from tasks.stage import guarded
from tests.pipeline_lib.report.evaluations import make_score
from tests.tasks.project import PARAMS, copied, ingested, run, spec, write_encoder, write_params
from tests.tasks.test_predict import predicted

MODEL, OUT = Path("models/adapted/0"), Path("exported")
LABELS = {
    "place": {"kind": "ordinal", "order": ["at 0", "at 1", "at 2"]},
    "light": "regression",
    "images": "binary",  # as the input is called
    "a|b <c>": "multilabel",
}
TEMPERATURE = 2.0


def call(*options: Any) -> str:
    """What the command prints."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(sys, "argv", ["export", *map(str, options)])
        guarded(main)
    return said.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a model of every kind of label, whose first one is calibrated."""
    with pytest.MonkeyPatch.context() as patch:
        datasets = {name: spec(name, test_fraction=0.5, content=9, invert=True) for name in PARAMS["datasets"]}
        project = ingested(tmp_path_factory.mktemp("export"), patch, datasets=datasets)
        for name in PARAMS["datasets"]:
            table = pd.read_csv(f"pictures/{name}/labels.csv")
            table["images"] = [["no", "yes"][row % 2] for row in table.index]
            table["a|b <c>"] = [["odd", "third;odd", ";"][row % 3] for row in table.index]
            table.to_csv(f"pictures/{name}/labels.csv", index=False)
        write_params(datasets=datasets, labels=LABELS)
        run("ingest")
        write_encoder()
        run("select", "heads", "adapt")
        config = read_json(MODEL / "config.json")
        write_json(MODEL / "config.json", {**config, "calibration": {"place": {"temperature": TEMPERATURE}}})
        score = make_score("target", config["method"], "place", "ordinal", 0.81)
        write_json(Path("reports/evaluation.json"), {"seeds": [0, 1], "scores": [score]})
        return project


@pytest.fixture(scope="module")
def exported(finished: Path) -> tuple[Path, str]:
    """The folder that was exported, and what was said."""
    for name in to_onnx.PACKAGES:
        pytest.importorskip(name, reason=f"{name} is not installed: it is of the extra 'export'")
    with contextlib.chdir(finished):
        return finished / OUT, call("--out", OUT)


@pytest.fixture(autouse=True)
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copied(finished, tmp_path / "project", monkeypatch)
    return tmp_path / "project"


def answers(exported: Path, images_NHWC: np.ndarray) -> dict[str, np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(exported / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": images_NHWC}), strict=True))


def test_the_file_says_what_predict_says(exported: tuple[Path, str]) -> None:
    dataset = read_dataset(Path("datasets/printed"))
    found = answers(exported[0], dataset.images[:])
    assert list(found) == ["place", "light", "label images", "a|b <c>"]
    rows = predicted().set_index(["label", "file"])
    specs = load_usable(MODEL).model.specs
    for (name, said), (label, of_label) in zip(found.items(), specs.items(), strict=True):
        ours = rows.loc[label].loc[dataset.table["path"]]
        assert name.removeprefix("label ") == label and len(said) == len(ours) == 60
        if of_label["kind"] == "regression":
            np.testing.assert_allclose(said, ours["value"], rtol=1e-4)
            continue
        confidence = KINDS[of_label["kind"]].confidence(torch.from_numpy(said))
        np.testing.assert_allclose(confidence, ours["confidence"], rtol=1e-4)
        if of_label["kind"] != "multilabel":
            assert [of_label["classes"][place] for place in said.argmax(axis=1)] == ours["answer"].tolist()
            np.testing.assert_allclose(said.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7])
def test_cells_are_adaptive_pooling(side: int) -> None:
    x = torch.randn(2, 3, side, side + 1)
    for shape in (3, (2, 5)):
        torch.testing.assert_close(to_onnx._Cells(shape)(x), torch.nn.AdaptiveMaxPool2d(shape)(x))


@pytest.mark.parametrize("num", [1, 7])
def test_it_takes_any_number_of_images_each_by_itself(num: int, exported: tuple[Path, str]) -> None:
    images = read_dataset(Path("datasets/printed")).images[:num]
    whole, alone = answers(exported[0], images), answers(exported[0], images[-1:])
    for name, said in whole.items():
        np.testing.assert_allclose(said[-1:], alone[name], atol=1e-5)


def test_it_is_checked_on_real_images_and_says_so(exported: tuple[Path, str]) -> None:
    card = read_json(exported[0] / "card.json")
    assert card["onnx_max_difference"] <= to_onnx.TOLERANCE
    assert "at most, on 120 images of its datasets" in exported[1]


def test_the_file_describes_itself_and_not_this_machine(exported: tuple[Path, str]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(exported[0] / "model.onnx")
    about = session.get_modelmeta().custom_metadata_map
    usable = load_usable(MODEL)
    assert json.loads(about["framing"]) == usable.framing
    assert [one["name"] for one in json.loads(about["labels"])] == list(LABELS)
    content = (exported[0] / "model.onnx").read_bytes()
    for word in (str(Path(to_onnx.__file__).parents[2]), "pipeline_lib", ".py", str(exported[0].parent)):
        assert word.encode() not in content, word


def test_the_card_says_what_is_known(exported: tuple[Path, str]) -> None:
    card, text = read_json(exported[0] / "card.json"), (exported[0] / "README.md").read_text()
    assert [one["name"] for one in card["labels"]] == list(LABELS)
    assert [one["calibrated"] for one in card["labels"]] == [True, False, False, False]
    assert card["datasets"]["printed"]["num_images"] == 60 and card["datasets"]["printed"]["role"] == "target"
    assert card["seeds"] == [0, 1] and card["scores"][0]["value"] == 0.81
    assert "| target | place | quadratic kappa | 0.810 | 0.760 to 0.860 |" in text
    assert "the mean over 2 trainings (seed 0, 1)" in text
    assert "a\\|b &lt;c&gt;" in text and "<c>" not in text.replace("```", "")
    assert "## Not for" in text and "licences of the images are not recorded" in text


@pytest.mark.parametrize("changes", [{}, {"channels": 3}, {"invert": False, "levels": [60, 200], "background": 40}])
def test_the_example_frames_as_predict_does(
    changes: dict[str, Any], exported: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    framing = {**load_usable(MODEL).framing, **changes}
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (31, 20, 3), np.uint8))
    picture.save("picture.png")
    shutil.copy(exported[0] / "model.onnx", "model.onnx")
    lines = example(framing)
    assert lines.count("\n") < 13
    names: dict[str, Any] = {}
    if changes:
        lines = (
            lines.partition("session =")[0] + f"images = np.asarray(framed).reshape(1, 12, 12, {framing['channels']})"
        )
    exec(lines, names)
    np.testing.assert_array_equal(names["images"][0], frame(picture, **framing))
    assert changes or list(names["answers"]) == list(answers(exported[0], names["images"]))


def test_elsewhere_it_is_checked_on_random_images_and_has_no_scores(
    exported: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(MODEL, tmp_path / "elsewhere/model")
    monkeypatch.chdir(tmp_path / "elsewhere")
    said = call("--model", "model", "--out", "out")
    assert "random images, since no dataset of its own is here" in said
    assert Path("out/model.onnx").read_bytes() == (exported[0] / "model.onnx").read_bytes()
    card = read_json(Path("out/card.json"))
    assert card["scores"] == [] and card["seeds"] is None
    assert "Not scored" in Path("out/README.md").read_text()


def refusal(capsys: pytest.CaptureFixture[str], *options: Any) -> str:
    with pytest.raises(SystemExit) as caught:
        call(*options)
    assert caught.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("error: "), said
    assert not list(Path().rglob("*.partial*"))
    return said[0]


NEW = Path("new")


def filled() -> None:
    NEW.mkdir()
    (NEW / "notes.txt").write_text("mine")


MISTAKES: dict[str, tuple[Callable[[], object], list[str]]] = {
    "no model": (lambda: shutil.rmtree(MODEL), ["models/adapted/0 holds no model"]),
    "a file in its place": (lambda: NEW.write_text("mine"), ["new", "is a file"]),
    "a folder of other things": (filled, ["new", "holds other files (notes.txt)"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(
    mistake: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tasks.export.refuse_missing", lambda: None)
    make, words = MISTAKES[mistake]
    make()
    said = refusal(capsys, "--out", NEW)
    assert [word for word in words if word not in said] == [], said
    assert not (NEW / "model.onnx").exists()
    assert not NEW.is_dir() or (NEW / "notes.txt").read_text() == "mine"


def test_a_missing_package_is_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(to_onnx, "find_spec", lambda name: None if name == "onnxscript" else name)
    said = refusal(capsys, "--out", OUT)
    assert "export needs onnxscript, which" in said and "pip install" in said and "[export]" in said


@pytest.mark.usefixtures("exported")
def test_a_file_that_differs_is_not_kept(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(OUT)
    monkeypatch.setattr(to_onnx, "TOLERANCE", -1.0)
    assert "differs from the model" in refusal(capsys, "--out", OUT)
    assert not OUT.exists()


@pytest.mark.usefixtures("exported")
def test_what_onnx_cannot_express_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = (OUT / "card.json").read_bytes()
    monkeypatch.setattr(
        "pipeline_lib.labels.regression.Regression.readable",
        lambda self, outputs, spec: torch.linalg.eigvals(outputs[:1, :1]).real,
    )
    assert "ONNX cannot express this model, whose encoder is 'small_cnn'" in refusal(capsys, "--out", OUT)
    assert (OUT / "card.json").read_bytes() == before
