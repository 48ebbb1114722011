"""params.yaml as a whole: what its blocks must say together, and how it is read."""

import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from pipeline_lib.core.errors import UserError, nearest, shown
from tasks.blocks import (
    CLASS_KINDS,
    Adapt,
    Audit,
    Block,
    DatasetName,
    DatasetSpec,
    Embed,
    Evaluate,
    Heads,
    Image,
    Label,
    Pretrain,
    Report,
    Seed,
    Select,
    listed,
    repeated,
)
from tasks.yaml_files import PARAMS_FILE, read_yaml

if TYPE_CHECKING:
    from pipeline_lib.labels.tasks import LabelSetting


class Params(Block):
    """The whole of params.yaml."""

    seed: Seed = 0
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(default=[0])
    device: str = "auto"
    image: Image = Image()
    datasets: Annotated[dict[DatasetName, DatasetSpec], Field(min_length=1)]
    source: Annotated[list[str], Field(min_length=1)]
    target: Annotated[list[str], Field(min_length=1)]
    labels: dict[Annotated[str, Field(min_length=1)], Label] = Field(default={})
    primary: str | None = None
    audit: Audit = Audit()
    select: Select = Select()
    pretrain: Pretrain = Pretrain()
    heads: Heads = Heads()
    adapt: Adapt = Adapt()
    embed: Embed = Embed()
    evaluate: Evaluate = Evaluate()
    report: Report = Report()

    @property
    def label_settings(self) -> "dict[str, LabelSetting]":
        """What is said of each label, as the library takes it."""
        # Here, because it imports torch, which those who only check params.yaml need not wait for.
        from pipeline_lib.labels.tasks import LabelSetting

        return {
            name: LabelSetting(label.kind, label.learn_from, tuple(label.order) if label.order else None)
            for name, label in self.labels.items()
        }

    @property
    def label_kinds(self) -> dict[str, str]:
        """The kind of each label."""
        return {name: label.kind for name, label in self.labels.items()}

    @property
    def primary_label(self) -> str | None:
        """The label that probes, clusters and adaptation are about: the first where none is named."""
        return self.primary if self.primary is not None else next(iter(self.labels), None)

    @model_validator(mode="after")
    def _seeds_differ(self) -> "Params":
        if (twice := repeated(self.seeds)) is not None:
            raise ValueError(f"seeds names {twice} twice, which would count one training as two: name it once")
        return self

    @model_validator(mode="after")
    def _roles_name_datasets(self) -> "Params":
        # Names under which the scores of roles, and of what was held out, are kept beside those of datasets.
        if taken := [name for name in ("source", "target", "heads") if name in self.datasets]:
            raise ValueError(f"datasets has the name '{taken[0]}', which is taken: give it another")
        for role, names in (("source", self.source), ("target", self.target)):
            for name in names:
                if name not in self.datasets:
                    raise ValueError(
                        f"{role} names {shown(name)}, which is not among the datasets: they are "
                        f"{listed(self.datasets)}{nearest(name, self.datasets)}"
                    )
            if (twice := repeated(names)) is not None:
                raise ValueError(f"{role} names '{twice}' twice: name it once")
        if shared := [name for name in self.source if name in self.target]:
            raise ValueError(
                f"'{shared[0]}' is both in source and in target, so nothing could be carried over to it: "
                "take it out of one of them"
            )
        return self

    @model_validator(mode="after")
    def _contents_fit_into_the_frame(self) -> "Params":
        for name, spec in self.datasets.items():
            if spec.content > self.image.size:
                raise ValueError(
                    f"datasets.{name}.content is {spec.content} px, larger than image.size, which is "
                    f"{self.image.size}: lower it, or raise image.size"
                )
        return self

    @model_validator(mode="after")
    def _views_fit_into_the_images(self) -> "Params":
        if (self.pretrain.size or 0) > self.image.size:
            raise ValueError(
                f"pretrain.size is {self.pretrain.size} px, larger than image.size, which is {self.image.size}: "
                "lower it, or null takes the whole image"
            )
        return self

    @model_validator(mode="after")
    def _named_labels_are_labels(self) -> "Params":
        for key, name in (("primary", self.primary), ("pretrain.watch", self.pretrain.watch)):
            if name is not None and name not in self.labels:
                raise ValueError(
                    f"{key} is {shown(name)}, which is not in the labels block: they are {listed(self.labels)}"
                    f"{nearest(name, self.labels)}"
                )
        watched = self.pretrain.watch
        if watched is not None and self.labels[watched].kind not in CLASS_KINDS:
            raise ValueError(
                f"pretrain.watch is {shown(watched)}, a {self.labels[watched].kind} label, which the probe cannot "
                f"watch: name one that is {' or '.join(CLASS_KINDS)}, or null"
            )
        return self


@contextmanager
def written_in(block: str) -> Iterator[None]:
    """Say in which block of params.yaml an option was written that the library refuses: it only knows its name."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{block} in {PARAMS_FILE}: {error}") from None


def read_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml.

    Raises UserError naming the file, the key's path, the value, what is allowed and the nearest name.
    """
    return check_params(read_yaml(path), path)


def check_params(raw: Mapping[str, Any], path: Path = PARAMS_FILE) -> Params:
    """Check what ``path`` holds, as :func:`read_params`."""
    _refuse_blocks_of_roles(raw, path)
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        more = f" (and {len(others)} more)" if others else ""
        raise UserError(f"{path}: {_explain(first)}{more}") from None


def _refuse_blocks_of_roles(raw: Mapping[str, Any], path: Path) -> None:
    """Say how a file is written now whose source and target are blocks, as they were before there were datasets."""
    old = [role for role in ("source", "target") if isinstance(raw.get(role), Mapping)]
    if old:
        blocks = ", ".join(f"my_{role}: {{the lines that stand under {role}}}" for role in old)
        roles = ", ".join(f"{role}: [my_{role}]" for role in old)
        raise UserError(
            f"{path}: '{old[0]}' is a block, but roles name datasets now: write datasets: {{{blocks}}}, and {roles}; "
            "the block 'transfer' is called 'evaluate', and seeds: [0] lists what is trained"
        )


def _explain(error: ErrorDetails) -> str:
    key = ".".join(map(_short, error["loc"]))
    if error["type"] == "extra_forbidden":
        names = _fields_at(error["loc"][:-1])
        hint = nearest(str(error["loc"][-1]), names)
        return f"unknown key '{key}': allowed here are {', '.join(names)}{hint}"
    if error["type"] == "missing":
        return f"the key '{key}' is missing: add it"
    if error["type"] == "value_error":
        return f"{key + ': ' if key else ''}{error['ctx']['error']}"
    value, hint = error["input"], ""
    if error["loc"][-1:] == ("[key]",):
        block = str(error["loc"][0])
        allowed = (
            "take letters, digits, dashes and underscores, 50 at most" if block == "datasets" else "write some text"
        )
        return f"{block} has the name {shown(value)}: {'write it in quotes' if isinstance(value, int) else allowed}"
    if error["type"] == "string_too_short":
        return f"{key} is empty: write something there"
    if error["type"] == "literal_error" and isinstance(value, str):
        words = error["ctx"]["expected"].replace(" or ", ", ").split(", ")
        hint = nearest(value, [word.strip("'") for word in words])
    message = error["msg"].replace("Input should be", "must be")
    return f"{key} is {shown(value)}, but {message}{hint}"


def _short(part: int | str) -> str:
    """Return a part of a key, which may be a name of the user's, cut to what a sentence can hold."""
    return text if len(text := str(part)) <= 100 else f"{text[:50]}...{text[-50:]}"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    annotation: Any = Params
    for name in location:
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        else:
            annotation = annotation.model_fields[str(name)].annotation
        if isinstance(annotation, types.UnionType):
            annotation = next(one for one in get_args(annotation) if isinstance(one, type) and issubclass(one, Block))
    return list(annotation.model_fields)
