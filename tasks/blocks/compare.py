"""The block ``compare``."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from pipeline_lib.core.errors import UserError, nearest, shown
from tasks.blocks.base import Block, listed
from tasks.blocks.shared import Computed, Drawn

# What images are compared by where no encoder is named.
PIXELS = "pixels"
# Names under which the ranking and the evaluation have what is there without being named.
TAKEN = (PIXELS, "random", "given", "start", "scratch", "pretrained", "supervised", "adapted", "constant")
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=50)]


class Candidate(Block):
    """An encoder with weights, a file in ``path``."""

    encoder: str
    weights: Annotated[str, Field(min_length=1)]
    size: Annotated[int, Field(ge=8, le=1024)] | None = None

    def refuse_missing(self, name: str, folder: str) -> None:
        """Raise UserError where the weights of the encoder that is called ``name`` are not in ``folder``."""
        if not Path(folder, self.weights).exists():
            raise UserError(
                f"encoders.{name}.weights is {shown(self.weights)}, which is not in {shown(folder)}: correct it, or "
                "put the file there"
            )


class Compare(Block):
    """Encoders that could be used as they are: the ranking foretells what they are worth, the evaluation judges it."""

    path: Annotated[str, Field(min_length=1)] = "requirements.lock"
    encoders: dict[Name, Candidate] = Field(default={})

    def refuse_unknown_features(self, features: str) -> None:
        """Raise UserError where ``features``, an option of another block, are neither pixels nor of an encoder here."""
        if features not in (known := [PIXELS, *self.encoders]):
            raise UserError(
                f"features is {shown(features)}, which is neither {PIXELS} nor among compare.encoders: they are "
                f"{listed(known)}{nearest(features, known)}"
            )

    @model_validator(mode="after")
    def _names_are_free(self) -> "Compare":
        if taken := [name for name in self.encoders if name in TAKEN]:
            raise ValueError(f"encoders has the name '{taken[0]}', which is taken: give it another")
        return self


class Compared(Computed, Drawn):
    """Of a stage that sees images as these encoders do."""

    compare: Compare = Compare()
