"""The blocks of params.yaml: one frozen model each, unknown keys forbidden."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline_lib.core.errors import nearest, shown

# The word of adapt.use for handing the model on as it is.
NOTHING = "none"

T = TypeVar("T")
Share = Annotated[float, Field(ge=0, le=1)]
# A slip of the finger is refused, and no number is too long for a file's name or a sentence.
MOST = 10**9
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Count = Annotated[int, Field(ge=1, le=MOST)]
Several = Annotated[int, Field(ge=2, le=MOST)]
Grey = Annotated[int, Field(ge=0, le=255)]
Positive = Annotated[float, Field(gt=0)]
Options = dict[str, Any]
LabelKind = Literal["multiclass", "binary", "ordinal", "multilabel", "regression"]
# Those of which an image has exactly one class.
CLASS_KINDS = ("multiclass", "binary", "ordinal")
# What DVC and every file system take as a part of a name.
DatasetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,49}$")]


class Block(BaseModel):
    """A part of params.yaml: frozen, without unknown keys, without silent conversions, all numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Image(Block):
    """The frame that the images of all datasets are brought to."""

    size: Annotated[int, Field(ge=8, le=1024)] = 28
    channels: Literal[1, 3] = 1


class DatasetSpec(Block):
    """Where the images of a dataset come from and how they are framed."""

    reader: str
    path: Annotated[str, Field(min_length=1)]
    labels: str | None = None
    content: Count = 28
    background: Grey = 0
    invert: bool = False
    levels: Annotated[list[Grey], Field(min_length=2, max_length=2)] = [0, 255]
    max_broken: Share = 0.1
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    limit: Count | None = None

    @model_validator(mode="after")
    def _levels_rise(self) -> "DatasetSpec":
        if self.levels[0] >= self.levels[1]:
            raise ValueError(f"levels are {self.levels}, but the first must be below the second")
        return self


class Label(Block):
    """What kind of label it is, and where it is learnt; a word alone is the kind."""

    kind: LabelKind
    learn_from: Literal["source", "target", "both"] | None = None
    order: Annotated[list[str], Field(min_length=2)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_word_is_the_kind(cls, value: Any) -> Any:
        return value if isinstance(value, (Mapping, cls)) else {"kind": value}

    @model_validator(mode="after")
    def _only_ordinal_labels_have_an_order(self) -> "Label":
        if self.order is not None and self.kind != "ordinal":
            raise ValueError(f"order is given for a {self.kind} label: only an ordinal one has an order")
        if self.order is not None and len(set(self.order)) < len(self.order):
            raise ValueError(f"order is {shown(self.order)}, which names a class twice")
        return self


class Refuse(Block):
    """Findings at which the audit stops the pipeline; null only reports."""

    domain_auc: Share | None = None
    duplicates_across: Annotated[int, Field(ge=0)] | None = None
    label_errors: Share | None = None
    imbalance: Annotated[float, Field(ge=1)] | None = None


class Audit(Block):
    """Checks of both datasets before anything is learnt from them."""

    sample: Annotated[int, Field(ge=20, le=MOST)] = 2000
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
    weights: Literal["random", "hub", "file"] = "random"
    weights_path: Annotated[str, Field(min_length=1)] = "requirements.lock"
    allow_partial: bool = False
    size: Annotated[int, Field(ge=8, le=1024)] | None = None
    epochs: Count = 20
    batch_size: Several = 256
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
    batch_size: Several = 128
    lr: Positive = 4e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    views: Views = DIGITS.model_copy(update={"min_scale": 0.6})


class Adapt(Block):
    """Adaptation of encoder and heads to the unlabelled target."""

    methods: Annotated[list[str], Field(min_length=1)] = ["adabn", "shot_im"]
    use: str = "shot_im"
    epochs: Count = 15
    batch_size: Several = 128
    lr: Positive = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    options: dict[str, Options] = {}

    @model_validator(mode="after")
    def _use_is_a_method(self) -> "Adapt":
        if (twice := repeated(self.methods)) is not None:
            raise ValueError(f"methods name {shown(twice)} twice: name it once")
        known = listed(self.methods)
        if self.use not in (*self.methods, NOTHING):
            hint = nearest(self.use, (*self.methods, NOTHING))
            raise ValueError(f"use is {shown(self.use)}, which is neither {NOTHING} nor in methods: {known}{hint}")
        for name in self.options:
            if name not in self.methods:
                hint = nearest(name, self.methods)
                raise ValueError(f"options has {shown(name)}, which is not in methods: {known}{hint}")
        return self


class Embed(Block):
    """Turning images into features."""

    batch_size: Count = 512
    source_sample: Several = 2000


class Evaluate(Block):
    """The evaluation of what carried over."""

    labels_per_class: Annotated[list[Count], Field(min_length=1)] = [1, 5, 10, 50]
    repeats: Several = 10
    restarts: Count = 3
    neighbors: Several = 15
    umap_dims: Several = 10
    num_clusters: Several | None = None


class Report(Block):
    """The page that sums it up."""

    title: str = "What carried over"
    thumbnails: Count = 2000


def repeated(values: Sequence[T]) -> T | None:
    """Return the first value that was there before, if any."""
    return next((value for place, value in enumerate(values) if value in values[:place]), None)


def listed(names: Iterable[str], most: int = 10) -> str:
    """Return names for a sentence, no more than ``most`` of them, long ones cut."""
    first = [name if len(name) <= 50 else f"{name[:50]}..." for name in islice(names, most + 1)]
    return ", ".join([*first[:most], "..."] if len(first) > most else first) or "none"
