"""What every kind of label can do, from a cell of a table to a score.

N counts images, B those of a batch, K outputs of a head, C classes. "Not labelled" is None or NaN in a table, and
nothing else in the project decides it than :func:`is_missing` and :func:`labelled`. A *spec* describes a label by what
it was learnt from, in JSON: its kind and classes, or its kind, mean and spread.

torch is imported by the functions that make tensors: it takes seconds, and who reads tables or scores needs none.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from torch import Tensor, nn

# Marks "not labelled" among the numbers of classes, as torch's cross entropy expects; elsewhere NaN does.
MISSING = -100
# A class with fewer labelled images than this is left out of what is averaged over classes: its share would be noise.
MIN_JUDGED = 5

Spec = Mapping[str, Any]
# Scores the images of the given row numbers, int64 [M].
Scorer = Callable[[np.ndarray], float]


class Kind(ABC):
    """A kind of label: how it is read, learnt, decoded and scored.

    ``main`` is the metric of comparisons. ``has_classes`` says that an image has exactly one of several classes, so
    that clusters can be compared with them and outputs are class probabilities. ``areas`` names the scores that go by
    the probabilities of all classes or tags. ``stored`` is the type of the column in a table: the values are object
    ``[N]`` (text or None) or float64 ``[N]`` (NaN).
    """

    name: ClassVar[str]
    main: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    has_classes: ClassVar[bool]
    areas: ClassVar[tuple[str, ...]] = ()
    stored: ClassVar[Literal["string", "float64"]] = "string"

    @abstractmethod
    def read(self, cell: Any) -> str | float | None:
        """Return a cell as it is stored, None for "not labelled".

        Raises ValueError with a clause that says what is wrong with it ("is no finite number").
        """

    @abstractmethod
    def describe(self, values_N: np.ndarray, order: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the spec of the stored values, with one key more, ``problem``.

        It is None, or the clause that says why this cannot be learnt ("it has one class only, 'x'"). ``order`` lists
        classes in their order, which is natural otherwise.
        """

    @abstractmethod
    def head(self, num_features: int, spec: Spec) -> "nn.Module":
        """Return what maps features ``[B, num_features]`` to outputs ``[B, K]``."""

    @abstractmethod
    def encode(self, values_N: np.ndarray, spec: Spec) -> "Tensor":
        """Return stored values as what :meth:`loss` takes, one row an image; what the spec does not know is missing."""

    @abstractmethod
    def loss(self, outputs_BK: "Tensor", encoded_B: "Tensor", weights_C: "Tensor | None" = None) -> "Tensor":
        """Return the mean loss of the labelled rows, 0 where none is.

        ``weights_C`` multiply the losses of the rows of each class; kinds whose images have no single class go without.
        """

    def losses(self, outputs_AKB: "Tensor", encoded_B: "Tensor", weights_C: "Tensor | None" = None) -> "Tensor":
        """Return the :meth:`loss` of each of several heads, ``[A]``, from all of their outputs."""
        from torch.func import vmap

        found: Tensor = vmap(lambda outputs_KB: self.loss(outputs_KB.T, encoded_B, weights_C))(outputs_AKB)
        return found

    @abstractmethod
    def decode(self, outputs_NK: "Tensor", spec: Spec) -> np.ndarray:
        """Return the answers that outputs stand for, as they are stored."""

    def probabilities(self, outputs_NK: "Tensor") -> "Tensor":
        """Return the probability of each class, ``[N, C]``, for a kind that has classes."""
        raise TypeError(f"a {self.name} label has no probabilities of classes")

    @abstractmethod
    def readable(self, outputs_NK: "Tensor", spec: Spec) -> "Tensor":
        """Return what outputs say to a reader: probabilities ``[N, C]``, or numbers in the label's unit ``[N]``."""

    @abstractmethod
    def confidence(self, readable_NC: "Tensor") -> "Tensor":
        """Return the probability that the answer is right, float32 ``[N]``, NaN for a kind that gives none.

        It is the model's own opinion, of what :meth:`readable` returns.
        """

    @abstractmethod
    def judged(self, truth_N: np.ndarray, spec: Spec | None = None) -> tuple[str, ...] | None:
        """Return the classes (or tags) that enter scores, those with MIN_JUDGED labelled images; None for numbers."""

    @abstractmethod
    def make_scorer(
        self, predicted_N: np.ndarray, truth_N: np.ndarray, judged: tuple[str, ...] | None, spec: Spec | None = None
    ) -> Scorer:
        """Return the function that gives the main metric of some of the images, fast; NaN if nothing can be judged.

        A judged class without an image among those is left out there. Of ``spec`` only an order given for the classes
        matters.
        """

    @abstractmethod
    def scores(self, predicted_N: np.ndarray, truth_N: np.ndarray, spec: Spec | None = None) -> dict[str, float | None]:
        """Return the main metric and then the others, None where nothing can be judged."""

    @abstractmethod
    def constant(self, truth_N: np.ndarray) -> np.ndarray:
        """Return the best answer that is the same for all images, known in hindsight, ``[N]`` as it is stored."""

    def score(
        self, predicted_N: np.ndarray, truth_N: np.ndarray, judged: tuple[str, ...] | None, spec: Spec | None = None
    ) -> float:
        """Return the main metric over the ``judged`` classes, NaN if nothing can be judged."""
        return self.make_scorer(predicted_N, truth_N, judged, spec)(np.arange(len(truth_N)))

    def scorer(self, predicted_N: np.ndarray, truth_N: np.ndarray, spec: Spec | None = None) -> tuple[Scorer, int]:
        """Return the function of row numbers that gives the main metric, and how many classes it leaves out.

        Which classes are judged depends on all of ``truth_N``, not on the rows.
        """
        judged = self.judged(truth_N, spec)
        left_out = 0 if judged is None else len(self.classes(truth_N)) - len(judged)
        return self.make_scorer(predicted_N, truth_N, judged, spec), left_out

    @abstractmethod
    def classes(self, values_N: np.ndarray) -> list[str]:
        """Return the classes or tags among the values in natural order; numbers have none."""

    def members(self, values_N: np.ndarray, classes: Sequence[str]) -> np.ndarray:
        """Return which of the ``classes`` or tags each image has, bool ``[N, C]``, for a kind that has any."""
        raise TypeError(f"a {self.name} label has no classes")

    def error(self, value: float) -> float:
        """Return the main metric as an error, 0 at best, so that relative changes of labels can be averaged."""
        return 1 - value if self.higher_is_better else value


def is_missing(cell: Any) -> bool:
    """Say whether a cell is "not labelled": None, NaN, or nothing but blanks."""
    if isinstance(cell, str):
        return not cell.strip()
    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def labelled(values_N: np.ndarray) -> np.ndarray:
    """Return which of the stored values are labels, bool ``[N]``."""
    return ~pd.isna(np.asarray(values_N))


def known(values_N: np.ndarray) -> np.ndarray:
    """Return those of the stored values that are labels."""
    return np.asarray(values_N)[labelled(values_N)]


def class_name(value: Any) -> str:
    """Return the text by which a class is known: without blanks around it, whole numbers without a decimal point."""
    # So 1, 1.0 and "1" are one class, whatever the table's format made of them.
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    return str(value).strip()


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return names for a sentence, no more than ``most`` of them."""
    return ", ".join([*names[:most], "..."] if len(names) > most else names)


def or_none(value: float) -> float | None:
    """Return a score for a table that has no NaN."""
    return None if np.isnan(value) else float(value)
