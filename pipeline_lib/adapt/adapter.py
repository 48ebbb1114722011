"""What adapters have in common: what they need, and the statistics that a model is left with."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import track
from pipeline_lib.data.rows import Rows
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.labels import KINDS
from pipeline_lib.training import Batches


class Adapter(nn.Module):
    """A learner that carries a trained ``model`` over to an unlabelled target, in place.

    It is trained on batches of the target's images where it ``trains``, by
    :func:`~pipeline_lib.training.fit`, and then, or instead, has to ``finish``. Options are the keyword-only arguments
    of the constructor.

    ``label`` names the one whose classes it goes by, where it ``needs_label``; ``source`` gives labelled images of the
    source where it ``needs_source``: placed batches with the columns ``images_BCHW`` (uint8) and ``label_0``,
    ``label_1``, ... of all labels of the model, as :func:`~pipeline_lib.heads.learner.label_columns` makes them.
    ``num_images`` is the number of the target's images. Raises UserError where it lacks what it needs, which ``lacks``
    tells beforehand.
    """

    name: ClassVar[str]
    needs_label: ClassVar[bool] = True
    needs_source: ClassVar[bool] = False
    needs_batch_norm: ClassVar[bool] = False
    trains: ClassVar[bool] = True
    # The share of the learning rate of all adapters that it trains with.
    rate: ClassVar[float] = 1.0
    # Whether it ends with heads of all labels that go with the encoder.
    fits_heads: ClassVar[bool] = False

    def __init__(self, model: MultiTask, label: str | None, source: Batches | None = None, num_images: int = 0) -> None:
        super().__init__()
        self.model, self.label, self.source, self.num_images = model, label, source, num_images
        # Of the batches whose statistics are averaged at the end.
        self.batch_size = 256
        if self.needs_label:
            self._check(label)
        if self.needs_source and source is None:
            raise UserError(f"{self.name} needs labelled images of the source, and there are none: leave it out")

    @classmethod
    def lacks(cls, model: MultiTask, label: str | None) -> str | None:
        """Return what the adapter needs and does not have, as a clause, or None."""
        if label is None and cls.needs_label:
            return "no label with classes is learnt from the source"
        norms = (isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
        if cls.needs_batch_norm and not any(norms):
            return f"the encoder '{model.encoder.name}' has no batch normalisation"
        return None

    def finish(self, rows: Rows, device: torch.device) -> None:
        """Leave the model on ``device``, in evaluation mode, with the batch statistics of the target's ``rows``.

        While it trains, a model sees batches of both domains, and its running statistics are a mixture of them and of
        what it started from. They are estimated anew here: the average over batches of about equal size, in an order
        that is always the same. A model without batch normalisation stays as it is.

        Raises UserError for fewer than two images, which have no variance.
        """
        if len(rows) < 2:
            raise UserError(f"{self.name} needs two images of the target or more, but there are {len(rows)}")
        encoder = self.model.to(device).encoder
        batches = Batches({"images_BCHW": rows}, self.batch_size, seed=0)
        batches.place(device, share=0.0)
        shown = track(batches, f"{self.name}: statistics", len(batches))
        torch.manual_seed(0)  # for an encoder with dropout
        update_bn((encoder.normalise(batch["images_BCHW"]) for batch in shown), encoder)
        self.model.eval()

    def features(self, images_BCHW: Tensor) -> Tensor:
        """Return the features of uint8 images, ``[B, D]``."""
        found: Tensor = self.model.encoder(self.model.encoder.normalise(images_BCHW))
        return found

    def answers(self, features_BD: Tensor) -> Tensor:
        """Return what the label's head says of features, ``[B, K]``."""
        found: Tensor = self.model.head(self.label or "")(features_BD)
        return found

    def probabilities(self, outputs_BK: Tensor) -> Tensor:
        """Return the probabilities of the label's classes, ``[B, C]``."""
        return KINDS[self._kind].probabilities(outputs_BK)

    @property
    def _kind(self) -> str:
        kind: str = self.model.specs[self.label or ""]["kind"]
        return kind

    def _check(self, label: str | None) -> None:
        if label not in self.model.specs:
            missing = "no label is named" if label is None else f"the model has not learnt '{label}'"
            raise UserError(f"{self.name} needs a label with classes, but {missing}: leave {self.name} out")
        if not KINDS[self._kind].has_classes:
            raise UserError(
                f"{self.name} needs a label of which an image has one class, but '{label}' is of the kind "
                f"{self._kind}: name another label or leave {self.name} out"
            )


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy along the last axis, in nats."""
    return -(probabilities * probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()).sum(dim=-1)
