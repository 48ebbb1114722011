"""AdaBN: the target's own batch statistics (Li 2016, https://arxiv.org/abs/1603.04779)."""

from typing import Annotated

from pipeline_lib.adapt.adapter import Adapter
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.registry import Range
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches


class AdaBN(Adapter):
    """Replace the running mean and variance of every batch normalisation by those of the target; train nothing.

    Raises UserError for an encoder without batch normalisation.
    """

    name = "adabn"
    needs_label = False
    needs_batch_norm = True
    trains = False

    def __init__(
        self,
        model: MultiTask,
        label: str | None,
        source: Batches | None = None,
        num_images: int = 0,
        *,
        batch_size: Annotated[int, Range(ge=2)] = 256,
    ) -> None:
        super().__init__(model, label, source, num_images)
        self.batch_size = batch_size
        if self.lacks(model, label):
            raise UserError(f"adabn needs batch normalisation, which the encoder '{model.encoder.name}' lacks")
