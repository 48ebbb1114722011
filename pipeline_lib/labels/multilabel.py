"""Any number of tags an image.

Stored as text: the tags in natural order between semicolons ("cat;dog"), and a lone semicolon for an image that is
labelled and has none.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline_lib.labels.kind import (
    MIN_JUDGED,
    Kind,
    Scorer,
    Spec,
    class_name,
    is_missing,
    known,
    labelled,
    or_none,
)
from pipeline_lib.labels.multiclass import accuracy
from pipeline_lib.labels.order import natural_order

if TYPE_CHECKING:
    from torch import Tensor, nn

BETWEEN = ";"


class Multilabel(Kind):
    """Tags, each learnt by a cross entropy of its own and scored by the mean of their balanced accuracies."""

    name = "multilabel"
    main = "balanced_accuracy"
    has_classes = False
    areas = ("auroc", "mean_average_precision")

    def read(self, cell: Any) -> str | None:
        """Return the tags of a list, or of text between semicolons; raise ValueError for a semicolon inside a tag."""
        if is_missing(cell):
            return None
        if pd.api.types.is_scalar(cell):
            return join(class_name(cell).split(BETWEEN))
        tags = [class_name(tag) for tag in cell if not is_missing(tag)]
        if any(BETWEEN in tag for tag in tags):
            raise ValueError("has a tag with a semicolon, which is what stands between tags")
        return join(tags)

    def describe(self, values_N: np.ndarray, order: Sequence[str] | None = None) -> dict[str, Any]:
        """Return ``kind`` and ``classes``, the tags in natural order."""
        different = pd.unique(known(values_N))
        problem = None
        if len(different) < 2:
            tags = f"the tags '{different[0]}'" if len(different) and different[0] != BETWEEN else "no tag"
            problem = f"all its images have {tags}" if len(different) else "it has no value"
        return {"kind": self.name, "classes": self.classes(values_N), "problem": problem}

    def head(self, num_features: int, spec: Spec) -> "nn.Module":
        """Return a linear layer with an output for each tag."""
        from torch import nn

        return nn.Linear(num_features, len(spec["classes"]))

    def encode(self, values_N: np.ndarray, spec: Spec) -> "Tensor":
        """Return which tags an image has, float32 ``[N, K]`` of 0 and 1; all NaN where it is not labelled."""
        import torch

        has_NK = tag_matrix(values_N, spec["classes"]).astype(np.float32)
        has_NK[~labelled(values_N)] = np.nan
        return torch.from_numpy(has_NK)

    def loss(self, outputs_BK: "Tensor", encoded_B: "Tensor", weights_C: "Tensor | None" = None) -> "Tensor":
        """Return the mean binary cross entropy of the labelled rows and all tags, in nats."""
        from torch.nn import functional as F

        known_B = ~encoded_B.isnan()
        losses = F.binary_cross_entropy_with_logits(outputs_BK.float(), encoded_B.nan_to_num(), reduction="none")
        return (losses * known_B).sum() / known_B.sum().clamp(min=1)

    def decode(self, outputs_NK: "Tensor", spec: Spec) -> np.ndarray:
        """Return the tags that are more probable than not, object ``[N]``."""
        tags = spec["classes"]
        answers = [join(tags[k] for k in np.flatnonzero(row)) for row in (outputs_NK > 0).cpu().numpy()]
        return np.array(answers, dtype=object)

    def readable(self, outputs_NK: "Tensor", spec: Spec) -> "Tensor":
        """Return the probability of each tag, ``[N, K]``."""
        return outputs_NK.float().sigmoid()

    def confidence(self, readable_NC: "Tensor") -> "Tensor":
        """Return the probability that all tags are right, as if they were independent."""
        return readable_NC.maximum(1 - readable_NC).prod(dim=1)

    def classes(self, values_N: np.ndarray) -> list[str]:
        """Return the tags among the values in natural order."""
        return natural_order(tag for text in pd.unique(known(values_N)) for tag in split(text))

    def members(self, values_N: np.ndarray, classes: Sequence[str]) -> np.ndarray:
        """Return which of the tags each image has, bool ``[N, C]``."""
        return tag_matrix(values_N, classes)

    def judged(self, truth_N: np.ndarray, spec: Spec | None = None) -> tuple[str, ...]:
        """Return the tags that MIN_JUDGED labelled images have, and as many have not."""
        tags, truth = self.classes(truth_N), known(truth_N)
        counts = tag_matrix(truth, tags).sum(axis=0)
        enough = (counts >= MIN_JUDGED) & (len(truth) - counts >= MIN_JUDGED)
        return tuple(tag for tag, one in zip(tags, enough, strict=True) if one)

    def make_scorer(
        self, predicted_N: np.ndarray, truth_N: np.ndarray, judged: tuple[str, ...] | None, spec: Spec | None = None
    ) -> Scorer:
        """Return the mean over the judged tags of the balanced accuracy of having the tag."""
        if not judged:
            return lambda rows: float("nan")
        code_NT = _codes(predicted_N, truth_N, judged)

        def balanced_accuracy(rows: np.ndarray) -> float:
            counts_T22 = _confusions(code_NT[rows], len(judged))
            totals = counts_T22.sum(axis=2)
            present = (totals > 0).all(axis=1)
            right = np.stack([counts_T22[:, 0, 0], counts_T22[:, 1, 1]], axis=1)
            return float((right[present] / totals[present]).mean()) if present.any() else float("nan")

        return balanced_accuracy

    def scores(self, predicted_N: np.ndarray, truth_N: np.ndarray, spec: Spec | None = None) -> dict[str, float | None]:
        """Return ``balanced_accuracy`` and ``macro_f1``, over the judged tags, and ``subset_accuracy``.

        The last is the share of all labelled images whose tags are all right.
        """
        judged = self.judged(truth_N)
        counts_T22 = _confusions(_codes(predicted_N, truth_N, judged), len(judged))
        found, wrong = counts_T22[:, 1, 1], counts_T22[:, 0, 1] + counts_T22[:, 1, 0]
        return {
            "balanced_accuracy": or_none(self.score(predicted_N, truth_N, judged)),
            "macro_f1": float((2 * found / (2 * found + wrong)).mean()) if judged else None,
            "subset_accuracy": accuracy(predicted_N, truth_N),
        }

    def constant(self, truth_N: np.ndarray) -> np.ndarray:
        """Return the tags that more than half of the labelled images have; None where nothing is labelled."""
        tags, truth = self.classes(truth_N), known(truth_N)
        usual = join(np.array(tags, dtype=object)[tag_matrix(truth, tags).mean(axis=0) > 0.5]) if len(truth) else None
        return np.full(len(truth_N), usual, dtype=object)


def join(tags: Any) -> str:
    """Return tags as they are stored."""
    return BETWEEN.join(natural_order(tag for text in tags if (tag := text.strip()))) or BETWEEN


def split(text: str) -> list[str]:
    """Return the tags of a stored value."""
    return [tag for tag in text.split(BETWEEN) if tag]


def tag_matrix(values_N: np.ndarray, tags: Sequence[str]) -> np.ndarray:
    """Return which of ``tags`` each image has, bool ``[N, T]``; one that is not labelled has none."""
    place = {tag: index for index, tag in enumerate(tags)}
    code_N, different = pd.factorize(np.asarray(values_N, dtype=object))
    # The last row is that of the code -1, "not labelled".
    has_UT = np.zeros((len(different) + 1, len(tags)), dtype=bool)
    for row, text in zip(has_UT, different, strict=False):
        row[[place[tag] for tag in split(text) if tag in place]] = True
    return has_UT[code_N]


def _codes(predicted_N: np.ndarray, truth_N: np.ndarray, tags: Sequence[str]) -> np.ndarray:
    """Return for each image and tag the cell of all tags' tables of truth against answer, int64 ``[N, T]``."""
    has_NT, said_NT = tag_matrix(truth_N, tags), tag_matrix(predicted_N, tags)
    code_NT = 4 * np.arange(len(tags)) + 2 * has_NT + said_NT
    # What is not labelled is counted in a place of its own, which is cheaper than to take it out each time.
    code_NT[~labelled(truth_N)] = 4 * len(tags)
    return code_NT


def _confusions(code_MT: np.ndarray, num_tags: int) -> np.ndarray:
    """Return how many images have each tag (second axis) and were said to (third), int64 ``[T, 2, 2]``."""
    return np.bincount(code_MT.ravel(), minlength=4 * num_tags + 1)[:-1].reshape(num_tags, 2, 2)
