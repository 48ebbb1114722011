"""What is seen of the features after an epoch: their rank, their spread, and a kNN probe where there are labels."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.encoders.inference import stream
from pipeline_lib.training.watch import describe_features, refuse_collapse

# As in the benchmarks of lightly and of Wu 2018 (https://arxiv.org/abs/1805.01978).
NEIGHBOURS = 200
TEMPERATURE = 0.1
CHUNK = 256
# What images are compared at, in px: their layout, at the size of a vector of features.
THUMBNAIL = 16


class FeatureProbe:
    """A function that describes an encoder by its features of ``images``, and refuses a collapse.

    With ``queries`` and the labels of both (int64), ``knn`` is the share of queries whose class a vote of their
    nearest ``images`` tells. The probe only watches: it sees labels, so nothing may be chosen by it.
    """

    def __init__(
        self,
        encoder: Encoder,
        images: Rows,
        queries: Rows | None = None,
        labels: Tensor | None = None,
        query_labels: Tensor | None = None,
    ) -> None:
        self.encoder, self.images, self.queries = encoder, images, queries
        self.labels, self.query_labels = labels, query_labels
        pooling = nn.Sequential(nn.AdaptiveAvgPool2d(THUMBNAIL), nn.Flatten())
        self.images_std = describe_features(self._pass(pooling, images))["feature_std"]

    def __call__(self) -> Mapping[str, float]:
        """Return ``rank``, ``feature_std`` and, with labels, ``knn``. Raises UserError on a collapse."""
        bank = self._pass(self.encoder, self.images)
        found = describe_features(bank)
        refuse_collapse(found, "pretrain", self.images_std)
        if self.queries is not None and self.labels is not None and self.query_labels is not None:
            predicted = knn_classes(bank, self.labels, self._pass(self.encoder, self.queries))
            found["knn"] = (predicted == self.query_labels).float().mean().item()
        return found

    def _pass(self, module: nn.Module, images: Rows) -> Tensor:
        """Return what the module makes of normalised images, float32 ``[N, D]``; a progress bar shows above already."""
        return torch.cat(stream(module, self.encoder, images, self.encoder.mean.device, CHUNK, lambda x: x, None))


def knn_classes(bank_ND: Tensor, labels_N: Tensor, queries_MD: Tensor) -> Tensor:
    """Return the class (int64 ``[M]``) that the nearest of the bank vote for, weighted by exp(cosine / temperature).

    What lightly's ``knn_predict`` returns first, without the second trainer that its module imports.
    """
    bank, classes = F.normalize(bank_ND, dim=1), int(labels_N.max()) + 1
    winners = []
    for queries in torch.split(F.normalize(queries_MD, dim=1), 1024):
        similarity, nearest = (queries @ bank.T).topk(min(NEIGHBOURS, len(bank)), dim=1)
        votes = queries.new_zeros(len(queries), classes)
        votes.scatter_add_(1, labels_N[nearest], (similarity / TEMPERATURE).exp())
        winners.append(votes.argmax(dim=1))
    return torch.cat(winners)
