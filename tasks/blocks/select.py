"""The block ``select``."""

from typing import Literal

from pydantic import Field

from pipeline_lib.core.errors import UserError
from tasks.blocks.base import Block, Count, Options
from tasks.blocks.compare import PIXELS
from tasks.blocks.labels import CLASS_KINDS, Primary


class Select(Block):
    """Which source images training uses, and with what weight."""

    method: str = "everything"
    size: Count | None = None
    features: str = PIXELS
    without: list[Literal["leaks", "duplicates", "near_duplicates", "label_errors"]] = Field(default=[])
    options: Options = Field(default={})

    def label(self, params: Primary) -> str | None:
        """Return the label that is chosen by, the primary one, and None where none is needed.

        Raises UserError where one is needed and there is none with classes.
        """
        from pipeline_lib.select import LABELLED

        needed = [f"the method '{self.method}'"] if self.method in LABELLED else []
        needed += ["without: [label_errors]"] if "label_errors" in self.without else []
        if not needed:
            return None
        name = params.primary_label
        if name is None or (kind := params.labels[name].kind) not in CLASS_KINDS:
            has = "the labels block names none" if name is None else f"the primary label '{name}' is {kind}"
            raise UserError(
                f"{needed[0]} takes a label of classes ({', '.join(CLASS_KINDS)}), but {has}: name one as primary, or "
                "choose what needs none"
            )
        return name
