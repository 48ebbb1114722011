"""What is seen of the features after an epoch: their rank, their spread, and a kNN probe where there are labels."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.training.watch import describe_features, refuse_collapse

# As in the benchmarks of lightly and of Wu 2018 (https://arxiv.org/abs/1805.01978).
NEIGHBOURS = 200
TEMPERATURE = 0.1
CHUNK = 256


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

    def __call__(self) -> Mapping[str, float]:
        """Return ``rank``, ``feature_std`` and, with labels, ``knn``. Raises UserError on a collapse."""
        features = encode(self.encoder, self.images)
        found = describe_features(features)
        refuse_collapse(found, "pretrain")
        if self.queries is not None and self.labels is not None and self.query_labels is not None:
            predicted = knn_classes(features, self.labels, encode(self.encoder, self.queries))
            found["knn"] = (predicted == self.query_labels).float().mean().item()
        return found


@torch.no_grad()
def encode(encoder: Encoder, images: Rows) -> Tensor:
    """Return the features of ``images``, float32 ``[N, D]`` on the CPU, with the encoder in evaluation mode."""
    was_training = encoder.training
    encoder.eval()
    chunks = torch.split(torch.arange(len(images)), CHUNK)
    device = encoder.mean.device
    features = [encoder(encoder.normalise(images.read(chunk).to(device))).float().cpu() for chunk in chunks]
    encoder.train(was_training)
    return torch.cat(features)


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
