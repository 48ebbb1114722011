"""The block ``rank``."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from pipeline_lib.core.errors import UserError, nearest, shown
from tasks.blocks.base import MOST, Block, Several, listed

# Candidates that are there without being named: no encoder, that of ``pretrain`` untrained, and with its weights.
PIXELS, RANDOM, GIVEN = "pixels", "random", "given"
BUILT_IN = (PIXELS, RANDOM, GIVEN)
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


class Rank(Block):
    """The rankings of source datasets and of encoders."""

    sample: Annotated[int, Field(ge=20, le=MOST)] = 500
    resamples: Several = 40
    features: str = PIXELS
    path: Annotated[str, Field(min_length=1)] = "requirements.lock"
    encoders: dict[Name, Candidate] = Field(default={})

    @model_validator(mode="after")
    def _names_are_known(self) -> "Rank":
        if taken := [name for name in self.encoders if name in BUILT_IN]:
            raise ValueError(f"encoders has the name '{taken[0]}', which is taken: give it another")
        known = [*BUILT_IN, *self.encoders]
        if self.features not in known:
            raise ValueError(
                f"features is {shown(self.features)}, which is not among the candidates: they are {listed(known)}"
                f"{nearest(self.features, known)}"
            )
        return self
