"""One of several classes an image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline_lib.labels.kind import (
    MIN_JUDGED,
    MISSING,
    Kind,
    Scorer,
    Spec,
    class_name,
    is_missing,
    known,
    labelled,
    or_none,
)
from pipeline_lib.labels.order import natural_order

if TYPE_CHECKING:
    from torch import Tensor, nn

# So many classes of one image each are names of images: who takes one image of a class has fewer classes.
IDENTIFIER = 1000


class Multiclass(Kind):
    """Classes without an order, learnt by cross entropy and scored by balanced accuracy."""

    name = "multiclass"
    main = "balanced_accuracy"
    has_classes = True
    areas = ("auroc",)

    def read(self, cell: Any) -> str | None:
        """Return the name of the class; raise ValueError for a list."""
        if not pd.api.types.is_scalar(cell):
            raise ValueError(f"is a list, while an image has one class of a {self.name} label")
        return None if is_missing(cell) else class_name(cell)

    def describe(self, values_N: np.ndarray, order: Sequence[str] | None = None) -> dict[str, Any]:
        """Return ``kind`` and ``classes``: those of ``order`` that occur, then the others."""
        found = self.classes(values_N)
        first = [name for name in order or () if name in set(found)]
        classes = first + [name for name in found if name not in set(first)]
        problem = self._problem(classes)
        if IDENTIFIER <= len(classes) == labelled(values_N).sum():
            problem = f"each of its {len(classes):,} images has a value of its own, as if it were an identifier"
        return {"kind": self.name, "classes": classes, "problem": problem}

    def _problem(self, classes: Sequence[str]) -> str | None:
        if len(classes) > 1:
            return None
        return f"it has one class only, '{classes[0]}'" if classes else "it has no value"

    def head(self, num_features: int, spec: Spec) -> "nn.Module":
        """Return a linear layer with an output for each class."""
        from torch import nn

        return nn.Linear(num_features, len(spec["classes"]))

    def encode(self, values_N: np.ndarray, spec: Spec) -> "Tensor":
        """Return class numbers, int64 ``[N]``, MISSING where the class is unknown."""
        import torch

        number_N = pd.Index(spec["classes"], dtype="object").get_indexer(np.asarray(values_N, dtype=object))
        return torch.from_numpy(np.where(number_N < 0, MISSING, number_N).astype(np.int64))

    def loss(self, outputs_BK: "Tensor", encoded_B: "Tensor", weights_C: "Tensor | None" = None) -> "Tensor":
        """Return the mean cross entropy of the labelled rows, in nats."""
        from torch.nn import functional as F

        total = F.cross_entropy(outputs_BK.float(), encoded_B, weights_C, ignore_index=MISSING, reduction="sum")
        return total / (encoded_B != MISSING).sum().clamp(min=1)

    def losses(self, outputs_AKB: "Tensor", encoded_B: "Tensor", weights_C: "Tensor | None" = None) -> "Tensor":
        """Return the mean cross entropy of each of several heads, ``[A]``."""
        # Along an axis that is not the last one a processor takes a softmax many rows at a time.
        log_AKB, known_B = outputs_AKB.float().log_softmax(dim=1), encoded_B != MISSING
        place_A1B = encoded_B.clamp(min=0).expand(len(log_AKB), 1, -1)
        counted_B = known_B if weights_C is None else known_B * weights_C[encoded_B.clamp(min=0)]
        of_truth_AB = log_AKB.gather(1, place_A1B).squeeze(1) * counted_B
        return -of_truth_AB.sum(dim=1) / known_B.sum().clamp(min=1)

    def decode(self, outputs_NK: "Tensor", spec: Spec) -> np.ndarray:
        """Return the most probable classes, object ``[N]``."""
        return np.array(spec["classes"], dtype=object)[outputs_NK.argmax(dim=1).cpu().numpy()]

    def probabilities(self, outputs_NK: "Tensor") -> "Tensor":
        """Return the probability of each class, float32 ``[N, C]``."""
        return outputs_NK.float().softmax(dim=1)

    def readable(self, outputs_NK: "Tensor", spec: Spec) -> "Tensor":
        """Return the probability of each class, ``[N, C]``."""
        return self.probabilities(outputs_NK)

    def confidence(self, readable_NC: "Tensor") -> "Tensor":
        """Return the probability of the most probable class."""
        return readable_NC.amax(dim=1)

    def classes(self, values_N: np.ndarray) -> list[str]:
        """Return the classes among the values in natural order."""
        return natural_order(pd.unique(known(values_N)))

    def members(self, values_N: np.ndarray, classes: Sequence[str]) -> np.ndarray:
        """Return which of the ``classes`` each image is of, bool ``[N, C]``."""
        number_N = pd.Index(classes, dtype="object").get_indexer(np.asarray(values_N, dtype=object))
        matrix: np.ndarray = number_N[:, None] == np.arange(len(classes))
        return matrix

    def judged(self, truth_N: np.ndarray, spec: Spec | None = None) -> tuple[str, ...]:
        """Return the classes with MIN_JUDGED labelled images or more, in natural order."""
        counts = pd.Series(known(truth_N), dtype="object").value_counts()
        return tuple(natural_order(counts.index[counts >= MIN_JUDGED]))

    def make_scorer(
        self, predicted_N: np.ndarray, truth_N: np.ndarray, judged: tuple[str, ...] | None, spec: Spec | None = None
    ) -> Scorer:
        """Return balanced accuracy, the mean of the judged classes' recall; images of others do not enter it."""
        if judged is None or len(judged) < 2:
            return lambda rows: float("nan")
        num_classes = len(judged)
        true_N, said_N = (
            pd.Index(judged, dtype="object").get_indexer(np.asarray(values, dtype=object))
            for values in (truth_N, predicted_N)
        )
        right_N = (said_N == true_N).astype(np.float64)
        # What is not judged is counted in a place of its own, which is cheaper than to take it out each time.
        true_N = np.where(true_N < 0, num_classes, true_N)

        def balanced_accuracy(rows: np.ndarray) -> float:
            true = true_N[rows]
            counts = np.bincount(true, minlength=num_classes + 1)[:num_classes]
            hits = np.bincount(true, weights=right_N[rows], minlength=num_classes + 1)[:num_classes]
            present = counts > 0
            return float((hits[present] / counts[present]).mean()) if present.any() else float("nan")

        return balanced_accuracy

    def scores(self, predicted_N: np.ndarray, truth_N: np.ndarray, spec: Spec | None = None) -> dict[str, float | None]:
        """Return ``balanced_accuracy`` and ``macro_f1``, over the judged classes, and ``accuracy``, over all images."""
        judged = self.judged(truth_N)
        return {
            "balanced_accuracy": self.balanced_accuracy(predicted_N, truth_N, judged),
            "macro_f1": macro_f1(predicted_N, truth_N, judged),
            "accuracy": accuracy(predicted_N, truth_N),
        }

    def balanced_accuracy(self, predicted_N: np.ndarray, truth_N: np.ndarray, judged: tuple[str, ...]) -> float | None:
        """Return balanced accuracy over the judged classes."""
        return or_none(Multiclass.make_scorer(self, predicted_N, truth_N, judged)(np.arange(len(truth_N))))

    def constant(self, truth_N: np.ndarray) -> np.ndarray:
        """Return the largest class for every image, the first of several; None where nothing is labelled."""
        # All constant answers have one balanced accuracy, so the others decide.
        values = known(truth_N)
        largest = natural_order(pd.Series(values, dtype="object").mode())[0] if len(values) else None
        return np.full(len(truth_N), largest, dtype=object)


def macro_f1(predicted_N: np.ndarray, truth_N: np.ndarray, judged: Sequence[str]) -> float | None:
    """Return the mean of the F1 of each of the ``judged`` classes among all labelled images, None below two of them."""
    if len(judged) < 2:
        return None
    rows = labelled(truth_N)
    said, true = (np.asarray(values, dtype=object)[rows] for values in (predicted_N, truth_N))
    scores = [
        2 * ((said == name) & (true == name)).sum() / ((said == name).sum() + (true == name).sum()) for name in judged
    ]
    return float(np.mean(scores))


def accuracy(predicted_N: np.ndarray, truth_N: np.ndarray) -> float | None:
    """Return the share of the labelled images whose answer is their value; no answer is wrong."""
    rows = labelled(truth_N)
    if not rows.any():
        return None
    said, true = (np.asarray(values, dtype=object)[rows] for values in (predicted_N, truth_N))
    return float(np.mean([one == other for one, other in zip(said.tolist(), true.tolist(), strict=True)]))
