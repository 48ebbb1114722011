"""The block ``labels``, and which of them is the primary one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline_lib.core.errors import shown
from tasks.blocks.base import Block, Part

if TYPE_CHECKING:
    from pipeline_lib.labels.tasks import LabelSetting

LabelKind = Literal["multiclass", "binary", "ordinal", "multilabel", "regression"]
# Those of which an image has exactly one class.
CLASS_KINDS = ("multiclass", "binary", "ordinal")


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


class Labelled(Part):
    """Of a stage that reads labels."""

    labels: dict[Annotated[str, Field(min_length=1)], Label] = Field(default={})

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


class Primary(Labelled):
    """Of a stage that is about one of the labels."""

    primary: str | None = None

    @property
    def primary_label(self) -> str | None:
        """The label that probes, clusters and adaptation are about: the first where none is named."""
        return self.primary if self.primary is not None else next(iter(self.labels), None)
