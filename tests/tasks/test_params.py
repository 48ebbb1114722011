import math
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic
import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

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


def change(path: Path, key: str, value: Any) -> None:
    """Set the dotted ``key`` of a params file."""
    params = read_yaml(path)
    block = params
    *above, last = key.split(".")
    for name in above:
        block = block[name]
    block[last] = value
    YAML().dump(params, path)


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


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("seed", "zero", "seed is 'zero', but must be a valid integer"),
        ("seed", 1.0, "seed is 1.0, but must be a valid integer"),
        ("source.invert", 1, "source.invert is 1, but must be a valid boolean"),
        ("source.invert", "yes", "source.invert is 'yes', but must be a valid boolean"),
        ("pretrain.lr", "fast", "pretrain.lr is 'fast', but must be a valid number"),
        ("pretrain.lr", -1, "pretrain.lr is -1, but must be greater than 0"),
        ("pretrain.epochs", 0, "pretrain.epochs is 0, but must be greater than or equal to 1"),
        ("source.max_broken", 10, "source.max_broken is 10, but must be less than or equal to 1"),
        ("image.channels", 2, "image.channels is 2, but must be 1 or 3"),
        ("heads.train", "frosen", "did you mean 'frozen'?"),
        ("labels.digit", "multi-class", "did you mean 'multiclass'?"),
        ("primary", "has_loop", "not a multiclass label"),
        ("adapt.use", "coral", "adapt: use is 'coral', which is not in methods"),
        ("select.options", 3, "select.options is 3, but must be a valid dictionary"),
        ("pretrain.weigth_decay", 0.1, "did you mean 'weight_decay'?"),
        ("pretrain.views.rotate", 0.1, "did you mean 'rotation'?"),
        ("pretrian", {}, "unknown key 'pretrian'"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(params_file: Path, key: str, value: Any, said: str) -> None:
    change(params_file, key, value)
    with pytest.raises(UserError) as caught:
        read_params(params_file)
    message = str(caught.value)
    assert "params.yaml" in message
    assert key.split(".")[-1] in message
    assert said in message
    assert "\n" not in message


def test_a_missing_key_is_named(params_file: Path) -> None:
    change(params_file, "source", {"path": "images"})
    with pytest.raises(UserError, match=r"the key 'source\.reader' is missing"):
        read_params(params_file)


@pytest.mark.parametrize("text", ["seed: [0\nprimary: digit\n", "seed: 0\nseed: 1\n", "seed: 0\n\tprimary: x\n"])
def test_broken_yaml_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=r"params\.yaml, line [123]: not valid YAML"):
        read_params(tmp_path / "params.yaml")


def test_several_mistakes_are_counted(params_file: Path) -> None:
    change(params_file, "seed", "zero")
    change(params_file, "image.channels", 2)
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
    text = re.sub(r"(?<=\n  lr: )\S+", written, params_file.read_text())
    params_file.write_text(text)
    read = read_params(params_file).pretrain.lr
    assert isinstance(read, float)
    assert math.isclose(read, value)


def test_params_are_frozen() -> None:
    params = read_params(ROOT / "params.yaml")
    with pytest.raises(pydantic.ValidationError):
        params.seed = 1  # type: ignore[misc]
    with pytest.raises(pydantic.ValidationError):
        params.pretrain.views.blur = 1.0  # type: ignore[misc]
