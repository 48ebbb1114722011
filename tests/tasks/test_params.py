import copy
import math
import operator
import re
import shutil
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import pydantic
import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from benchmarks.scratch import ROOT
from pipeline_lib.adapt import ADAPTERS
from pipeline_lib.core.errors import UserError
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.tasks import LabelSetting
from tasks.blocks.adapt import Adapt, Candidate
from tasks.blocks.datasets import DatasetSpec
from tasks.blocks.heads import Heads
from tasks.blocks.labels import CLASS_KINDS, Label
from tasks.blocks.pretrain import Pretrain
from tasks.blocks.training import peak_rate
from tasks.declaration import look_up, resolve
from tasks.params import Params, check_params, read_params
from tasks.yaml_files import DVC_FILE, read_yaml

PRESETS = sorted((ROOT / "configs").glob("*.yaml"))
# A block whose keys are the user's own: datasets, labels, and the options of a method.
FREE = {"datasets", "labels", "select.options", "pretrain.options", "adapt.options", "compare.encoders"}
HUGE = "x" * 10_000
# The longest sentence: what is wrong, where, what is allowed, and the way out.
MOST_CHARACTERS = 600


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """What params.yaml holds."""
    return read_yaml(ROOT / "params.yaml")


@pytest.fixture
def raw(written: dict[str, Any]) -> dict[str, Any]:
    """The same, to be changed."""
    return copy.deepcopy(written)


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


def change(raw: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted ``key``."""
    *above, last = key.split(".")
    reduce(operator.getitem, above, raw)[last] = value


def refusal(raw: dict[str, Any], changes: Mapping[str, Any] | None = None) -> str:
    """Return the sentence with which the parameters are refused once ``changes``, by dotted keys, are made."""
    for key, value in (changes or {}).items():
        change(raw, key, value)
    with pytest.raises(UserError) as caught:
        check_params(raw)
    message = str(caught.value)
    assert message.startswith("params.yaml: ") and "\n" not in message
    assert len(message) < MOST_CHARACTERS
    return message


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
    written = read_yaml(ROOT / "params.yaml")
    assert list(yaml_keys(written)) == list(schema_keys(Params))
    for spec in written["datasets"].values():
        assert list(spec) == list(DatasetSpec.model_fields)


def test_params_yaml_is_the_defaults() -> None:
    params = read_params(ROOT / "params.yaml")
    fields = Params.model_fields
    blank = {name: getattr(params, name) for name, field in fields.items() if field.is_required()}
    assert set(blank) == {"datasets", "source", "target"}
    assert Params(**blank, labels=params.labels, primary=params.primary) == params


@pytest.mark.parametrize("name", ["mnist", "digits"])
def test_datasets_differ_from_the_defaults_only_where_they_must(name: str) -> None:
    spec = read_params(ROOT / "params.yaml").datasets[name]
    required = {"reader", "path"}
    declared = {"mnist": set(), "digits": {"content", "levels", "test_fraction"}}
    fields = DatasetSpec.model_fields
    assert {key for key in fields if getattr(spec, key) != fields[key].default} - required == declared[name]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_presets_are_valid_and_have_what_dvc_reads(preset: Path) -> None:
    read_params(preset)
    raw = read_yaml(preset)
    for declaration in resolve(read_yaml(ROOT / DVC_FILE), raw).values():
        for key in declaration.params:
            look_up(key, raw)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("seed", "zero", "seed is 'zero', but must be a valid integer"),
        ("seed", 1.0, "seed is 1.0, but must be a valid integer"),
        ("seed", -1, "seed is -1, but must be greater than or equal to 0"),
        ("seeds", 0, "seeds is 0, but must be a valid list"),
        ("seeds", [], "seeds is [], but"),
        ("seeds", [0, "one"], "seeds.1 is 'one', but must be a valid integer"),
        ("datasets.mnist.invert", 1, "datasets.mnist.invert is 1, but must be a valid boolean"),
        ("datasets.mnist.invert", "yes", "datasets.mnist.invert is 'yes', but must be a valid boolean"),
        ("datasets.mnist.max_broken", 10, "datasets.mnist.max_broken is 10, but must be less than or equal to 1"),
        ("datasets.mnist.test_fraction", 1, "datasets.mnist.test_fraction is 1, but must be less than 1"),
        ("datasets.mnist.path", "", "datasets.mnist.path is empty: write something there"),
        ("datasets.mnist.levels", [200, 100], "levels are [200, 100], but the first must be below the second"),
        ("datasets.mnist.labls", "x.csv", "did you mean 'labels'?"),
        ("datasets.digits.content", 29, "datasets.digits.content is 29 px, larger than image.size, which is 28"),
        ("datasets", {}, "datasets is {}, but"),
        ("pretrain.lr", "fast", "pretrain.lr is 'fast', but must be a valid number"),
        ("pretrain.lr", -1, "pretrain.lr is -1, but must be greater than 0"),
        ("pretrain.epochs", 0, "pretrain.epochs is 0, but must be greater than or equal to 1"),
        ("pretrain.size", 29, "pretrain.size is 29 px, larger than image.size, which is 28"),
        ("pretrain.weights_path", "", "pretrain.weights_path is empty: write something there"),
        ("image.channels", 2, "image.channels is 2, but must be 1 or 3"),
        ("heads.train", "frozen", "unknown key 'heads.train'"),
        (
            "heads.use",
            "frosen",
            "which is neither auto nor in strategies: frozen, lp_ft, scratch; did you mean 'frozen'?",
        ),
        ("heads.use", "all", "heads: use is 'all', which is neither auto nor in strategies"),
        ("heads.strategies", ["all", "all"], "strategies name 'all' twice: name it once"),
        ("heads.strategies", [], "heads.strategies is []"),
        ("heads.views.min_scale", None, None),
        ("labels.digit", "multi-class", "did you mean 'multiclass'?"),
        ("labels.digit", {"kind": "multiclass", "learn_form": "target"}, "did you mean 'learn_from'?"),
        ("labels.digit", {"kind": "multiclass", "learn_from": "targt"}, "did you mean 'target'?"),
        ("labels.digit", {"learn_from": "source"}, "the key 'labels.digit.kind' is missing"),
        ("adapt.use", "coral", "use is 'coral', which is neither auto nor none nor in methods: adabn, mcc, shot_im"),
        ("adapt.methods", ["adabn", "shot_im", "adabn"], "methods name 'adabn' twice"),
        ("adapt.methods", [], "adapt.methods is [], but"),
        ("adapt.methods", ["adabn", "source_only"], "methods name 'source_only', which is no adapter's"),
        ("adapt.methods", ["../adabn"], "adapt.methods.0 is '../adabn', but"),
        ("adapt.options", {"mcc": {"epochs": 0}}, "adapt.options.mcc.epochs is 0, but"),
        ("adapt.options", {"mcc": {"lr": "fast"}}, "adapt.options.mcc.lr is 'fast', but"),
        ("adapt.options", {"shot": {"diversity": 2.0}}, "options has 'shot', which is not in methods"),
        ("adapt.options", {"dann": {"weight": 2.0}}, "options has 'dann', which is not in methods"),
        ("adapt.scorers", ["infomax", "infomax"], "scorers name 'infomax' twice"),
        ("select.options", 3, "select.options is 3, but must be a valid dictionary"),
        ("pretrain.weigth_decay", 0.1, "did you mean 'weight_decay'?"),
        ("pretrain.views.rotate", 0.1, "did you mean 'rotation'?"),
        ("pretrain.views.min_scale", 1.5, "pretrain.views.min_scale is 1.5, but must be less than or equal to 1"),
        ("evaluate.labels_per_class", [0], "evaluate.labels_per_class.0 is 0, but"),
        ("pretrian", {}, "unknown key 'pretrian'"),
        ("transfer", {}, "unknown key 'transfer'"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(raw: dict[str, Any], key: str, value: Any, said: str | None) -> None:
    if said is None:  # null is the method's own strength
        change(raw, key, value)
        check_params(raw)
        return
    message = refusal(raw, {key: value})
    assert key.split(".")[-1] in message
    assert said in message


@pytest.mark.parametrize("role", ["source", "target"])
@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["mnits"], r"names 'mnits', which is not among the datasets: .*mnist, digits.*did you mean 'mnist'\?"),
        (["other", "other"], "names 'other' twice: name it once"),
        ([], r"is \[\], but"),
        ("mnist", "is 'mnist', but must be a valid list"),
        ([1], r"\.0 is 1, but must be a valid string"),
    ],
)
def test_a_role_names_datasets_once(raw: dict[str, Any], role: str, names: Any, said: str) -> None:
    change(raw, "datasets.other", {"reader": "folder", "path": "images"})
    assert re.search(rf"{role} ?{said}", refusal(raw, {role: names}))


def test_a_dataset_is_in_one_role(raw: dict[str, Any]) -> None:
    message = refusal(raw, {"source": ["mnist", "digits"]})
    assert "'digits' is both in source and in target" in message


def test_a_dataset_may_be_in_no_role_and_the_order_of_names_is_kept(raw: dict[str, Any]) -> None:
    for name in ("b", "a", "spare"):
        change(raw, f"datasets.{name}", {"reader": "folder", "path": name})
    change(raw, "source", ["mnist", "b", "a"])
    assert check_params(raw).source == ["mnist", "b", "a"]


@pytest.mark.parametrize("name", ["", "a b", "ä", "a/b", "..", "-a", "_a", "a.b", "a@b", "a\n", "x" * 51, 5])
def test_a_name_of_a_dataset_is_one_for_files_and_stages(raw: dict[str, Any], name: Any) -> None:
    raw["datasets"][name] = raw["datasets"]["mnist"]
    assert f"datasets has the name {name!r}" in refusal(raw)


@pytest.mark.parametrize("name", ["source", "target"])
def test_no_dataset_has_the_name_of_a_role(raw: dict[str, Any], name: str) -> None:
    """Scores are given by role and by dataset, under these names."""
    spec = raw["datasets"].pop("mnist")
    message = refusal(raw, {"datasets": {**raw["datasets"], name: spec}, "source": [name]})
    assert f"datasets has the name '{name}', which is taken" in message


@pytest.mark.parametrize("name", ["a", "A-1_b", "2024", "x" * 50])
def test_names_of_datasets(raw: dict[str, Any], name: str) -> None:
    change(raw, f"datasets.{name}", {"reader": "folder", "path": "images"})
    assert name in check_params(raw).datasets


def test_a_label_may_have_any_name_but_an_empty_one(raw: dict[str, Any]) -> None:
    names = ["a.b", "a b", "größe", "self", "images_BCHW", "x" * 300]
    change(raw, "primary", None)
    change(raw, "labels", dict.fromkeys(names, "binary"))
    assert list(check_params(raw).labels) == names
    message = refusal(raw, {"labels": {"": "binary"}})
    assert "labels has the name ''" in message and "dashes" not in message


def test_seeds_that_repeat_would_count_one_training_as_two(raw: dict[str, Any]) -> None:
    assert "seeds names 3 twice" in refusal(raw, {"seeds": [0, 3, 3]})
    change(raw, "seeds", [7, 0, 3])
    assert check_params(raw).seeds == [7, 0, 3]


@pytest.mark.parametrize("roles", [("source",), ("target",), ("source", "target")])
def test_blocks_of_roles_are_answered_with_the_lines_to_write(raw: dict[str, Any], roles: tuple[str, ...]) -> None:
    block = {"reader": "folder", "path": "images"}
    message = refusal(raw, dict.fromkeys(roles, block))
    for role in roles:
        assert f"my_{role}: {{" in message and f"{role}: [my_{role}]" in message
    assert "'transfer' is called 'evaluate'" in message


def test_the_lines_that_are_answered_are_valid(raw: dict[str, Any]) -> None:
    block = {"reader": "folder", "path": "images"}
    said = refusal(raw, {"source": block, "target": block})
    lines = re.search(r"(datasets: .*\}\}), and (source: .*\]), (target: .*\]);", said)
    assert lines
    text = re.sub(r"\{the lines [^}]*\}", "{reader: folder, path: images}", "\n".join(lines.groups()))
    assert Params.model_validate(YAML(typ="safe").load(text)).source == ["my_source"]


def test_a_word_alone_is_the_kind_of_a_label(raw: dict[str, Any]) -> None:
    change(raw, "labels.digit", {"kind": "multiclass"})
    assert check_params(raw).labels == read_params(ROOT / "params.yaml").labels
    change(raw, "labels.digit", {"kind": "ordinal", "order": ["S", "M"], "learn_from": "both"})
    params = check_params(raw)
    assert params.labels["digit"] == Label(kind="ordinal", order=["S", "M"], learn_from="both")
    assert params.label_settings["digit"] == LabelSetting("ordinal", "both", ("S", "M"))
    assert params.label_settings["has_loop"] == LabelSetting("binary")
    assert params.label_kinds == {"digit": "ordinal", "has_loop": "binary", "stroke_thickness": "regression"}


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"ordinal"}))
def test_an_order_is_for_ordinal_labels(raw: dict[str, Any], kind: str) -> None:
    message = refusal(raw, {"labels.digit": {"kind": kind, "order": ["a", "b"]}})
    assert f"order is given for a {kind} label" in message and "labels.digit" in message


@pytest.mark.parametrize(
    ("order", "said"), [(["a"], "at least 2"), (["a", "b", "a"], "names a class twice"), ([1, 2], "valid string")]
)
def test_an_order_names_two_classes_or_more_once(raw: dict[str, Any], order: list[Any], said: str) -> None:
    assert said in refusal(raw, {"labels.digit": {"kind": "ordinal", "order": order}})


def test_the_schema_knows_the_kinds_and_adapters_of_the_library() -> None:
    assert {name for name in KINDS if KINDS[name].has_classes} == set(CLASS_KINDS)
    for kind in KINDS:
        Label.model_validate(kind)
    assert set(Params.model_fields["adapt"].default.methods) <= set(ADAPTERS)


@pytest.mark.parametrize("key", ["primary", "pretrain.watch"])
def test_a_label_that_is_named_elsewhere_is_one_of_the_labels(raw: dict[str, Any], key: str) -> None:
    message = refusal(raw, {key: "digits"})
    assert f"{key} is 'digits', which is not in the labels block" in message
    assert "digit, has_loop, stroke_thickness" in message and "did you mean 'digit'?" in message


def test_a_label_without_classes_cannot_be_watched_but_be_primary(raw: dict[str, Any]) -> None:
    change(raw, "primary", "stroke_thickness")
    assert check_params(raw).primary_label == "stroke_thickness"
    message = refusal(raw, {"pretrain.watch": "stroke_thickness"})
    assert "pretrain.watch is 'stroke_thickness', a regression label" in message
    assert "multiclass or binary or ordinal" in message


def test_the_primary_label_is_the_first_where_none_is_named(raw: dict[str, Any]) -> None:
    change(raw, "primary", None)
    assert check_params(raw).primary_label == "digit"
    change(raw, "labels", {})
    assert check_params(raw).primary_label is None
    assert check_params(raw).label_settings == {}


@pytest.mark.parametrize(
    "key",
    [
        "seed",
        "primary",
        "pretrain.watch",
        "pretrain.epochs",
        "source",
        "datasets.mnist.content",
        "datasets.mnist.levels",
        "adapt.use",
        "heads.use",
        "heads.strategies",
        "labels.digit",
        "image.size",
    ],
)
@pytest.mark.parametrize("value", [HUGE, [HUGE], 10**3000], ids=["text", "list", "number"])
def test_huge_values_are_not_echoed(raw: dict[str, Any], key: str, value: Any) -> None:
    refusal(raw, {key: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": [10**3000, 10**3000]},
        {"datasets.mnist.levels": [255, *[0] * 5000]},
        {"adapt.methods": [HUGE, HUGE]},
        {"adapt.options": {HUGE: {}}},
        {"labels.digit": {"kind": "ordinal", "order": [HUGE, HUGE]}},
        {"labels.digit": {"kind": "multiclass", HUGE: 1}},
        {HUGE: 1},
    ],
    ids=range(7),
)
def test_huge_names_are_not_echoed(raw: dict[str, Any], changes: dict[str, Any]) -> None:
    refusal(raw, changes)


@pytest.mark.parametrize("names", ["datasets", "labels"])
def test_of_many_names_a_sentence_lists_few(raw: dict[str, Any], names: str) -> None:
    spec = raw["datasets"]["mnist"] if names == "datasets" else "binary"
    change(raw, names, {f"name_{number}": spec for number in range(1000)})
    if names == "labels":
        assert "did you mean" in refusal(raw, {"primary": "name_1000"})
    else:
        assert "did you mean" in refusal(raw, {"source": ["name_1000"]})


def test_a_missing_key_is_named(raw: dict[str, Any]) -> None:
    assert "the key 'datasets.mnist.reader' is missing" in refusal(raw, {"datasets.mnist": {"path": "images"}})


def test_several_mistakes_are_counted(raw: dict[str, Any]) -> None:
    assert "and 1 more" in refusal(raw, {"seed": "zero", "image.channels": 2})


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


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("key", ["pretrain.lr", "heads.lr", "adapt.weight_decay", "datasets.mnist.test_fraction"])
def test_a_number_is_finite(raw: dict[str, Any], key: str, value: float) -> None:
    assert f"{key} is {value}, but must be" in refusal(raw, {key: value})


def test_params_are_frozen(written: dict[str, Any]) -> None:
    params = check_params(written)
    with pytest.raises(pydantic.ValidationError):
        params.seed = 1  # type: ignore[misc]
    with pytest.raises(pydantic.ValidationError):
        params.pretrain.views.blur = 1.0  # type: ignore[misc]


def test_an_adapter_has_its_share_of_the_learning_rate_unless_one_is_given() -> None:
    block = Adapt(methods=["dann", "fast"], options={"fast": Candidate(method="dann", lr=0.01)}, lr=0.002)
    assert block.trained_as("dann", 0.25).lr == pytest.approx(0.0005)
    assert block.trained_as("fast", 0.25).lr == 0.01
    assert block.trained_as("fast", 0.25).epochs == block.epochs


@pytest.mark.parametrize("block", [Pretrain(), Heads()], ids=["pretrain", "heads"])
def test_given_weights_take_a_smaller_rate_unless_one_is_set(block: Pretrain | Heads) -> None:
    assert peak_rate(block, given=False) == block.usual
    assert 0 < peak_rate(block, given=True) < peak_rate(block, given=False) / 2
    one_set = block.model_copy(update={"lr": 0.5})
    assert peak_rate(one_set, given=True) == peak_rate(one_set, given=False) == 0.5
