"""The block ``adapt``."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from pipeline_lib.core.errors import nearest, shown
from tasks.blocks.base import Block, Count, Positive, Several, listed, repeated

# The words of ``use`` for handing the model on as it is, and for a choice without target labels.
NOTHING, AUTO = "none", "auto"
# What names of candidates may not be: these words, and what the model before any adapter is called.
TAKEN = (NOTHING, AUTO, "source_only")
# They also become names of files.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=50)]


class Candidate(Block):
    """One entry of ``methods``: its own settings, and under all other names the options of its adapter."""

    model_config = ConfigDict(extra="allow")

    method: str | None = None  # the adapter; null takes the one that the entry is named after
    epochs: Count | None = None  # null takes that of the block
    lr: Positive | None = None  # null takes the adapter's share of that of the block

    @property
    def options(self) -> dict[str, Any]:
        """What the adapter is told."""
        return dict(self.model_extra or {})


class Adapt(Block):
    """Adaptation of encoder and heads to the unlabelled target."""

    methods: Annotated[list[Name], Field(min_length=1)] = Field(default=["adabn", "mcc", "shot_im"])
    use: str = AUTO
    scorers: Annotated[list[str], Field(min_length=1)] = Field(default=["class_ami", "infomax", "mixval"])
    epochs: Count = 15
    batch_size: Several = 128
    lr: Positive = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    options: dict[str, Candidate] = Field(default={})

    def adapter(self, name: str) -> str:
        """Return the adapter of an entry of ``methods``."""
        return self.candidate(name).method or name

    def candidate(self, name: str) -> Candidate:
        """Return what is said of an entry of ``methods``."""
        return self.options.get(name, Candidate())

    def trained_as(self, name: str, share: float) -> "Adapt":
        """Return the settings of training of an entry of ``methods``, by default ``share`` times the learning rate."""
        own = self.candidate(name)
        return self.model_copy(update={"epochs": own.epochs or self.epochs, "lr": own.lr or self.lr * share})

    @model_validator(mode="after")
    def _use_is_a_method(self) -> "Adapt":
        if (twice := repeated(self.methods)) is not None:
            raise ValueError(f"methods name {shown(twice)} twice: name it once")
        if taken := [name for name in self.methods if name in TAKEN]:
            raise ValueError(f"methods name '{taken[0]}', which is no adapter's: leave it out, or take another name")
        known = listed(self.methods)
        if self.use not in (*self.methods, AUTO, NOTHING):
            hint = nearest(self.use, (*self.methods, AUTO, NOTHING))
            raise ValueError(
                f"use is {shown(self.use)}, which is neither {AUTO} nor {NOTHING} nor in methods: {known}{hint}"
            )
        if (twice := repeated(self.scorers)) is not None:
            raise ValueError(f"scorers name {shown(twice)} twice: name it once")
        for name in self.options:
            if name not in self.methods:
                hint = nearest(name, self.methods)
                raise ValueError(f"options has {shown(name)}, which is not in methods: {known}{hint}")
        return self
