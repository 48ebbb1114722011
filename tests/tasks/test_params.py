import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic
import pytest
from pydantic import BaseModel

from benchmarks.scratch import ROOT
from pipeline_lib.core.errors import UserError
from tasks.params import Params, read_params, read_yaml
from tasks.stage import DVC_FILE, look_up

PRESETS = sorted((ROOT / "configs").glob("*.yaml"))
# A block whose keys are the user's own: the labels, and the options of a method.
FREE = {"labels", "select.options", "pretrain.options", "adapt.options"}


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


def replace(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert text.count(old) >= 1, f"params.yaml no longer says {old!r}"
    path.write_text(text.replace(old, new, 1))
    return path


def schema_keys(block: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in block.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from schema_keys(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def yaml_keys(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in mapping.items():
        key = prefix + name
        if isinstance(value, Mapping) and key not in FREE:
            yield from yaml_keys(value, f"{key}.")
        else:
            yield key


def test_params_yaml_names_every_knob_in_the_order_of_the_schema() -> None:
    assert list(yaml_keys(read_yaml(ROOT / "params.yaml"))) == list(schema_keys(Params))


def test_params_yaml_is_the_defaults() -> None:
    params = read_params(ROOT / "params.yaml")
    fields = Params.model_fields
    blank = {name: getattr(params, name) for name, field in fields.items() if field.is_required()}
    assert Params(**blank) == params


@pytest.mark.parametrize("role", ["source", "target"])
def test_roles_differ_from_the_defaults_only_where_they_must(role: str) -> None:
    block = getattr(read_params(ROOT / "params.yaml"), role)
    required = {"reader", "path"}
    declared = {"source": set(), "target": {"content", "levels", "test_fraction"}}
    fields = type(block).model_fields
    assert {key for key in fields if getattr(block, key) != fields[key].default} - required == declared[role]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_presets_are_valid_and_have_what_dvc_reads(preset: Path) -> None:
    read_params(preset)
    raw = read_yaml(preset)
    for stage in read_yaml(ROOT / DVC_FILE)["stages"].values():
        for key in [*stage["params"], "source.path", "target.path"]:
            look_up(key, raw)


def test_unknown_key_names_the_nearest(params_file: Path) -> None:
    replace(params_file, "  weight_decay:", "  weigth_decay:")
    with pytest.raises(UserError) as caught:
        read_params(params_file)
    message = str(caught.value)
    assert "params.yaml" in message
    assert "'pretrain.weigth_decay'" in message
    assert "did you mean 'weight_decay'?" in message


def test_unknown_block_names_the_nearest(params_file: Path) -> None:
    with pytest.raises(UserError, match=r"unknown key 'pretrian'.*did you mean 'pretrain'\?"):
        read_params(replace(params_file, "pretrain:", "pretrian:"))


def test_unknown_key_in_a_nested_block(params_file: Path) -> None:
    with pytest.raises(UserError, match=r"'pretrain\.views\.rotate'.*did you mean 'rotation'\?"):
        read_params(replace(params_file, "    rotation:", "    rotate:"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seed: 0 ", "seed: zero ", "seed is 'zero', but must be a valid integer"),
        ("seed: 0 ", "seed: 1.0 ", "seed is 1.0, but must be a valid integer"),
        ("invert: false", "invert: 1", "source.invert is 1, but must be a valid boolean"),
        ("  lr: 0.002", "  lr: fast", "pretrain.lr is 'fast', but must be a valid number"),
        ("  lr: 0.002", "  lr: -1", "pretrain.lr is -1, but must be greater than 0"),
        ("  epochs: 20", "  epochs: 0", "pretrain.epochs is 0, but must be greater than or equal to 1"),
        ("max_broken: 0.1", "max_broken: 10", "source.max_broken is 10, but must be less than or equal to 1"),
        ("channels: 1", "channels: 2", "image.channels is 2, but must be 1 or 3"),
        ("train: finetuned", "train: frosen", "did you mean 'frozen'?"),
        ("digit: multiclass", "digit: multi-class", "did you mean 'multiclass'?"),
        ("primary: digit ", "primary: has_loop ", "not a multiclass label"),
        ("use: shot_im", "use: mcc", "not in methods: adabn, shot_im"),
        ("  reader: mnist5k", "  #", "the key 'source.reader' is missing"),
        ("options: {}", "options: 3", "select.options is 3, but must be a valid dictionary"),
        ("seed: 0 ", "seed: [0 ", "line "),
        ("seed: 0 ", "seed: 0\nseed: 1 ", "line "),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(params_file: Path, old: str, new: str, said: str) -> None:
    replace(params_file, old, new)
    with pytest.raises(UserError) as caught:
        read_params(params_file)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_mistakes_are_counted(params_file: Path) -> None:
    replace(params_file, "seed: 0 ", "seed: zero ")
    replace(params_file, "channels: 1", "channels: 2")
    with pytest.raises(UserError, match=r"and 1 more"):
        read_params(params_file)


@pytest.mark.parametrize("text", ["", "- a list", "just text"])
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match="mapping"):
        read_params(tmp_path / "params.yaml")


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run from the root"):
        read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(("written", "value"), [("1e-3", 1e-3), ("1E-3", 1e-3), ("2", 2.0), ("0.5", 0.5)])
def test_numbers_are_read_as_dvc_reads_them(params_file: Path, written: str, value: float) -> None:
    read = read_params(replace(params_file, "  lr: 0.002", f"  lr: {written}")).pretrain.lr
    assert isinstance(read, float)
    assert math.isclose(read, value)


def test_yes_is_text_and_not_true(params_file: Path) -> None:
    with pytest.raises(UserError, match=r"source\.invert is 'yes'"):
        read_params(replace(params_file, "invert: false", "invert: yes"))


def test_params_are_frozen() -> None:
    params = read_params(ROOT / "params.yaml")
    with pytest.raises(pydantic.ValidationError):
        params.seed = 1  # type: ignore[misc]
    with pytest.raises(pydantic.ValidationError):
        params.pretrain.views.blur = 1.0  # type: ignore[misc]
