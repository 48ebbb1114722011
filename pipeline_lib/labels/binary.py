"""One of two classes an image."""

from collections.abc import Sequence

from pipeline_lib.labels.kind import listed
from pipeline_lib.labels.multiclass import Multiclass


class Binary(Multiclass):
    """Two classes; a third one is a mistake in the table that this kind finds."""

    name = "binary"

    def _problem(self, classes: Sequence[str]) -> str | None:
        if len(classes) > 2:
            return f"it has {len(classes)} classes ({listed(classes)}), while a binary label has two"
        return super()._problem(classes)
