import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from benchmarks.scratch import ROOT
from pipeline_lib.core.errors import UserError
from pipeline_lib.heads.strategies import STRATEGIES
from pipeline_lib.heads.weightings import conflict
from tasks.check import main, registered
from tasks.yaml_files import DVC_FILE, PARAMS_FILE, read_yaml


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what is checked of the project, as the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["check"])
    for name in (PARAMS_FILE, DVC_FILE, Path("requirements.lock")):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def change(**values: Any) -> None:
    """Set keys of params.yaml, with ``__`` for the dots."""
    yaml = YAML()
    params = yaml.load(PARAMS_FILE)
    for key, value in values.items():
        *above, last = key.split("__")
        block = params
        for name in above:
            block = block[name]
        block[last] = value
    yaml.dump(params, PARAMS_FILE)


def test_what_is_right_is_said_to_be_so(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    assert capsys.readouterr().out == "params.yaml is valid\n"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"datasets__mnist__reader": "mnist5"}, r"datasets\.mnist in params\.yaml: reader is 'mnist5', .* 'mnist5k'"),
        ({"datasets__mnist__path": "no/images"}, r"datasets\.mnist\.path in params\.yaml is 'no/images', which"),
        ({"datasets__mnist__path": ""}, r"params\.yaml.*datasets\.mnist\.path"),
        ({"datasets__mnist__path": "x" * 5000}, r"datasets\.mnist\.path in params\.yaml is 'xxx.*which does not exist"),
        ({"datasets__mnist__path": "a\0b"}, r"datasets\.mnist\.path in params\.yaml is .*which does not exist"),
        ({"datasets__mnist__labels": "no.csv"}, r"datasets\.mnist\.labels in params\.yaml is 'no\.csv', which"),
        ({"source": ["mnits"]}, r"params\.yaml.*'mnits'.*did you mean 'mnist'"),
        ({"select__method": "nearst"}, r"select in params\.yaml: method is 'nearst', .* 'nearest'"),
        ({"select__method": "random", "select__options": {"no": 1}}, r"select in params\.yaml: options has no option"),
        ({"audit__features": "pixel"}, r"audit in params\.yaml: features is 'pixel', .* did you mean 'pixels'\?"),
        ({"pretrain__method": "simlcr"}, r"pretrain in params\.yaml: method is 'simlcr', .* 'simclr'"),
        ({"pretrain__options": {"temprature": 1}}, r"pretrain in params\.yaml: options .*temprature.*'temperature'"),
        ({"heads__strategies": ["al"], "heads__use": "auto"}, r"heads in params\.yaml: strategies is 'al', .* 'all'"),
        ({"heads__strategies": ["low_rank"], "heads__use": "auto"}, r"^heads in .*: strategies name low_rank, .*_vit"),
        ({"heads__weighting": "uncertain"}, r"heads in params\.yaml: weighting is 'uncertain', .* 'uncertainty'"),
        ({"pretrain__options": {"temperature": -1}}, r"pretrain in params\.yaml: options\.temperature is -1"),
        ({"pretrain__encoder": "small_cn"}, r"pretrain in params\.yaml: encoder is 'small_cn', .* 'small_cnn'"),
        ({"pretrain__weights": "file", "pretrain__weights_path": "no.pt"}, r"weights_path in params\.yaml is 'no\.pt'"),
        ({"pretrain__precision": "16-mixed", "device": "cpu"}, r"pretrain in params\.yaml: precision is 16-mixed"),
        ({"adapt__methods": ["adabn", "shoot"], "adapt__use": "adabn"}, r"adapt in params\.yaml: methods is 'shoot'"),
        (
            {"adapt__methods": ["short"], "adapt__use": "auto", "adapt__options": {"short": {"method": "mc"}}},
            r"adapt in params\.yaml: options\.short\.method is 'mc', .* did you mean 'mcc'\?",
        ),
        ({"adapt__options": {"adabn": {"no": 1}}}, r"adapt in params\.yaml: options\.adabn has no option 'no'"),
        ({"device": "cuda:99"}, r"device is 'cuda:99', which this machine does not have"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value)[:60],
)  # fmt: skip
def test_what_params_yaml_alone_gets_wrong_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    change(**changes)
    with pytest.raises(UserError, match=sentence) as caught:
        main()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("encoder", ["small_cnn", "small_vit"])
def test_strategies_that_an_encoder_can_do_are_valid(encoder: str) -> None:
    able = [name for name in STRATEGIES if name != "low_rank" or encoder == "small_vit"]
    change(heads__strategies=able, heads__use="auto", pretrain__encoder=encoder)
    main()


def test_a_weighting_whose_package_is_missing_is_refused_by_the_name_of_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conflict, "find_spec", lambda package: None)
    change(heads__weighting="uncertainty")
    main()
    change(heads__weighting="mgda")
    with pytest.raises(UserError, match=r"^heads in params\.yaml: weighting needs torchjd, .*\[multitask\]"):
        main()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            'meta: {gpu: "${pretrain.devices}", retries: 1}',
            "meta: {gpu: -1}",
            r"dvc\.yaml: meta\.gpu of the stage 'pretrain@0' is -1",
        ),
        ("params: [device, image, source", "params: [devise, image, source", "the key 'devise' is missing"),
        ("foreach: ${datasets}", "foreach: ${dataset}", "the key 'dataset' is missing"),
        ("  ingest:", "  ingest: [", r"dvc\.yaml, line \d+: not valid YAML"),
    ],
)
def test_what_dvc_yaml_gets_wrong_is_one_sentence(old: str, new: str, sentence: str) -> None:
    text = DVC_FILE.read_text()
    assert old in text
    DVC_FILE.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=sentence):
        main()


def test_all_keys_that_dvc_misses_are_named_at_once() -> None:
    raw = read_yaml(PARAMS_FILE)
    del raw["rank"], raw["adapt"]["use"], raw["pretrain"]["weights_path"]
    PARAMS_FILE.write_text(json.dumps(raw))
    with pytest.raises(UserError) as refused:
        main()
    said = str(refused.value)
    assert said.startswith("params.yaml: the keys ") and "configs/small.yaml" in said
    assert all(key in said for key in ("rank", "adapt.use", "pretrain.weights_path")) and "item" not in said


@pytest.mark.parametrize(
    ("package", "registry"),
    [
        ("data/readers", "READERS"), ("select", "SELECTORS"), ("methods", "METHODS"), ("adapt", "ADAPTERS"),
        ("encoders", "ENCODERS"), ("heads/strategies", "STRATEGIES"), ("heads/weightings", "WEIGHTINGS"),
    ],
)  # fmt: skip
def test_names_are_those_of_the_dict(package: str, registry: str) -> None:
    module = importlib.import_module(f"pipeline_lib.{package.replace('/', '.')}")
    assert registered(package, registry) == list(getattr(module, registry))


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("models").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "models")  # root may write anywhere
    with pytest.raises(UserError, match="the folder models cannot be written to, where models/encoder/0 belongs"):
        main()


def test_what_is_left_over_from_other_settings_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    change(datasets__spare={"reader": "digits", "path": "requirements.lock"})
    for name in ("datasets/mnist", "datasets/old", "predictions/heads", "metrics/pretrain"):
        Path(name).mkdir(parents=True)
    for name in ("datasets/.gitignore", "predictions/heads/7.parquet", "metrics/pretrain/0.json", "metrics/mine.json"):
        Path(name).touch()
    main()
    *notes, last = capsys.readouterr().out.splitlines()
    assert last == "params.yaml is valid"
    assert notes[0] == "note: in no role, so only ranked as a candidate source: spare"
    assert [note.split()[1] for note in notes[1:]] == [
        "datasets/old", "metrics/mine.json", "predictions/heads/7.parquet"
    ]  # fmt: skip


def test_other_label_errors_left_out_than_shown_are_noted(capsys: pytest.CaptureFixture[str]) -> None:
    weights = Path("mine.pt")
    weights.touch()
    encoders = {"mine": {"encoder": "small_cnn", "weights": weights.name}}
    change(compare__path=".", compare__encoders=encoders, audit__features="mine", select__without=["label_errors"])
    main()
    assert (
        "note: select leaves out label errors by pixels and the audit shows those by mine: " in capsys.readouterr().out
    )
    change(select__features="mine")
    main()
    assert "label errors" not in capsys.readouterr().out


def test_the_command_ends_with_a_sentence_and_exit_code_2(project: Path) -> None:
    PARAMS_FILE.write_bytes(b"\xff")
    command, environment = [sys.executable, "-m", "tasks.check"], {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: params.yaml, line 1: not UTF-8 text; save the file as UTF-8\n"
