"""The images that distances and scores are computed from, as features."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Domain:
    """Images of a dataset: float64 ``[N, D]``, and the key of each, text ``[N]``; those of one key stay together."""

    features_ND: np.ndarray  # noqa: N815
    keys_N: np.ndarray  # noqa: N815

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.keys_N)

    def take(self, rows: np.ndarray) -> "Domain":
        """Return the images of these rows (int64)."""
        return Domain(self.features_ND[rows], self.keys_N[rows])


@dataclass(frozen=True)
class Examples(Domain):
    """Images with the number of their class, int64 ``[N]``.

    ``probabilities_NK`` is what the classifier that the encoder was trained with makes of them, float64 ``[N, K]`` over
    classes of its own; None where it came without one.
    """

    classes_N: np.ndarray  # noqa: N815
    probabilities_NK: np.ndarray | None = None  # noqa: N815

    def take(self, rows: np.ndarray) -> "Examples":
        """Return the images of these rows (int64)."""
        probabilities = None if self.probabilities_NK is None else self.probabilities_NK[rows]
        return Examples(self.features_ND[rows], self.keys_N[rows], self.classes_N[rows], probabilities)
