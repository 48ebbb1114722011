"""Supervised classification: what self-supervision is compared with."""

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline_lib.core.ranks import gather
from pipeline_lib.core.registry import Count
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.methods.views import CROP_AND_FLIP, Augment


class Supervised(nn.Module):
    """Cross-entropy of a linear classifier, over the images of a batch that have a label.

    Crops and mirror images are those of Inception (Szegedy 2015, https://arxiv.org/abs/1409.4842).
    """

    def __init__(self, encoder: Encoder, augment: Augment, *, num_classes: Count = 2) -> None:
        super().__init__()
        self.encoder, self.views = encoder, augment(CROP_AND_FLIP)
        self.classifier = nn.Linear(encoder.num_features, num_classes)

    def forward(self, images_BCHW: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss and the accuracy, of one view; ``labels`` is int64 ``[B]``, -1 where there is none.

        Both are 0 for a batch without labels.
        """
        (view,) = self.views(images_BCHW)
        logits, labels = gather(self.classifier(self.encoder(view))), gather(labels)
        num_labelled = (labels >= 0).sum().clamp(min=1)
        loss = F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum") / num_labelled
        return {"loss": loss, "accuracy": (logits.argmax(dim=1) == labels).sum() / num_labelled}
