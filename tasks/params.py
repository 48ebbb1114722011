"""The schema of params.yaml: one frozen model per block, unknown keys forbidden."""

import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from pipeline_lib.core.errors import UserError, nearest

PARAMS_FILE = Path("params.yaml")

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Grey = Annotated[int, Field(ge=0, le=255)]
Positive = Annotated[float, Field(gt=0)]
Options = dict[str, Any]
LabelKind = Literal["multiclass", "binary", "regression"]


class Block(BaseModel):
    """A part of params.yaml: frozen, without unknown keys, without silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Image(Block):
    """The frame that the images of both roles are brought to."""

    size: Annotated[int, Field(ge=8, le=1024)] = 28
    channels: Literal[1, 3] = 1


class Role(Block):
    """Where the images of the source or the target come from and how they are framed."""

    reader: str
    path: str
    labels: str | None = None
    content: Count = 28
    background: Grey = 0
    invert: bool = False
    levels: Annotated[list[Grey], Field(min_length=2, max_length=2)] = [0, 255]
    max_broken: Share = 0.1
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    limit: Count | None = None

    @model_validator(mode="after")
    def _levels_rise(self) -> "Role":
        if self.levels[0] >= self.levels[1]:
            raise ValueError(f"levels are {self.levels}, but the first must be below the second")
        return self


class Refuse(Block):
    """Findings at which the audit stops the pipeline; null only reports."""

    domain_auc: Share | None = None
    duplicates_across: Annotated[int, Field(ge=0)] | None = None
    label_errors: Share | None = None
    imbalance: Annotated[float, Field(ge=1)] | None = None


class Audit(Block):
    """Checks of both datasets before anything is learnt from them."""

    sample: Annotated[int, Field(ge=20)] = 2000
    permutations: Count = 200
    refuse: Refuse = Refuse()


class Select(Block):
    """Which source images pretraining uses, and with what weight."""

    method: str = "everything"
    size: Count | None = None
    options: Options = {}


class Views(Block):
    """Strengths of random views: null is the method's own, and zero changes nothing."""

    min_scale: Annotated[float, Field(gt=0, le=1)] | None = None
    max_scale: Annotated[float, Field(gt=0, le=1)] | None = None
    rotation: Annotated[float, Field(ge=0, le=180)] | None = None
    shear: Annotated[float, Field(ge=0, le=45)] | None = None
    flip: Share | None = None
    jitter: Share | None = None
    brightness: Share | None = None
    contrast: Share | None = None
    saturation: Share | None = None
    hue: Annotated[float, Field(ge=0, le=0.5)] | None = None
    grayscale: Share | None = None
    blur: Share | None = None
    solarize: Share | None = None

    @model_validator(mode="after")
    def _scales_rise(self) -> "Views":
        if (self.min_scale or 0) > (self.max_scale or 1):
            raise ValueError(f"min_scale is {self.min_scale}, above max_scale, which is {self.max_scale}")
        return self


DIGITS = Views(
    min_scale=0.5,
    max_scale=1.0,
    rotation=15.0,
    shear=10.0,
    flip=0.0,
    jitter=1.0,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    grayscale=0.0,
    blur=0.5,
    solarize=0.0,
)


class Pretrain(Block):
    """Self-supervised pretraining on the source's images."""

    method: str = "simclr"
    encoder: str = "small_cnn"
    weights: str | None = None
    allow_partial: bool = False
    size: Annotated[int, Field(ge=8, le=1024)] | None = None
    epochs: Count = 20
    batch_size: Annotated[int, Field(ge=2)] = 256
    optimizer: Literal["adamw", "sgd", "lars"] = "adamw"
    lr: Positive = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    options: Options = {}
    transforms: Literal["batched", "lightly"] = "batched"
    views: Views = DIGITS
    watch: str | None = None
    tensorboard: bool = False
    devices: Count = 1
    num_nodes: Count = 1
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"


class Heads(Block):
    """Heads for every label on one shared encoder."""

    train: Literal["frozen", "finetuned", "scratch"] = "scratch"
    epochs: Count = 12
    batch_size: Annotated[int, Field(ge=2)] = 128
    lr: Positive = 4e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    views: Views = DIGITS.model_copy(update={"min_scale": 0.6})


class Adapt(Block):
    """Adaptation of encoder and heads to the unlabelled target."""

    methods: Annotated[list[str], Field(min_length=1)] = ["adabn", "shot_im"]
    use: str = "shot_im"
    epochs: Count = 15
    batch_size: Annotated[int, Field(ge=2)] = 128
    lr: Positive = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    options: dict[str, Options] = {}

    @model_validator(mode="after")
    def _use_is_a_method(self) -> "Adapt":
        if self.use not in self.methods:
            raise ValueError(f"use is '{self.use}', which is not in methods: {', '.join(self.methods)}")
        return self


class Embed(Block):
    """Turning images into features."""

    batch_size: Count = 512


class Transfer(Block):
    """The evaluation of what carried over."""

    labels_per_class: Annotated[list[Count], Field(min_length=1)] = [1, 5, 10, 50]
    repeats: Annotated[int, Field(ge=2)] = 10
    neighbors: Annotated[int, Field(ge=2)] = 15
    umap_dims: Annotated[int, Field(ge=2)] = 10
    bootstrap: Annotated[int, Field(ge=100)] = 1000


class Report(Block):
    """The page that sums it up."""

    title: str = "What carried over"
    thumbnails: Count = 2000


class Params(Block):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "auto"
    image: Image = Image()
    source: Role = Role(reader="mnist5k", path="requirements.lock")
    target: Role = Role(reader="digits", path="requirements.lock", content=20, levels=[64, 224], test_fraction=0.5)
    labels: dict[str, LabelKind] = {
        "digit": "multiclass",
        "has_loop": "binary",
        "stroke_thickness": "regression",
    }
    primary: str = "digit"
    audit: Audit = Audit()
    select: Select = Select()
    pretrain: Pretrain = Pretrain()
    heads: Heads = Heads()
    adapt: Adapt = Adapt()
    embed: Embed = Embed()
    transfer: Transfer = Transfer()
    report: Report = Report()

    @model_validator(mode="after")
    def _views_fit_into_the_images(self) -> "Params":
        if (self.pretrain.size or 0) > self.image.size:
            raise ValueError(
                f"pretrain.size is {self.pretrain.size} px, larger than image.size, which is {self.image.size}: "
                "lower it, or null takes the whole image"
            )
        return self

    @model_validator(mode="after")
    def _primary_is_multiclass(self) -> "Params":
        if self.labels.get(self.primary) != "multiclass":
            allowed = [name for name, kind in self.labels.items() if kind == "multiclass"]
            raise ValueError(
                f"primary is '{self.primary}', which is not a multiclass label of the labels block: "
                f"allowed are {', '.join(allowed) or 'none, so add one'}"
            )
        return self


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping as YAML 1.2, as DVC does (PyYAML would read 1e-3 as a string)."""
    if not path.is_file():
        raise UserError(f"{path} is missing here: run from the root of the project")
    try:
        value = YAML(typ="safe", pure=True).load(path)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UserError(f"{path}, line {line}: not valid YAML ({error.problem}); mend that line") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a mapping of blocks, one per stage")
    return value


def read_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml.

    Raises UserError naming the file, the key's path, the value, what is allowed and the nearest name.
    """
    return check_params(read_yaml(path), path)


def check_params(raw: Mapping[str, Any], path: Path = PARAMS_FILE) -> Params:
    """Check what ``path`` holds, as :func:`read_params`."""
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        more = f" (and {len(others)} more)" if others else ""
        raise UserError(f"{path}: {_explain(first)}{more}") from None


def _explain(error: ErrorDetails) -> str:
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        names = _fields_at(error["loc"][:-1])
        return f"unknown key '{key}': allowed here are {', '.join(names)}{nearest(str(error['loc'][-1]), names)}"
    if error["type"] == "missing":
        return f"the key '{key}' is missing: add it"
    if error["type"] == "value_error":
        return f"{key + ': ' if key else ''}{error['ctx']['error']}"
    value, hint = error["input"], ""
    if error["type"] == "literal_error" and isinstance(value, str):
        allowed = [word.strip("'") for word in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        hint = nearest(value, allowed)
    message = error["msg"].replace("Input should be", "must be")
    return f"{key} is {value!r}, but {message}{hint}"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    block: type[BaseModel] = Params
    for name in location:
        annotation = block.model_fields[str(name)].annotation
        choices = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
        block = next(choice for choice in choices if isinstance(choice, type) and issubclass(choice, BaseModel))
    return list(block.model_fields)
