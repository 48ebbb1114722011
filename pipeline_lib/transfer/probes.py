"""Linear probes: how far a few labels of the target go on each representation."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.transfer.knn import normalise

# Root mean square length of the features: with scikit-learn's default penalty it sets how strong that is. It is
# the one for all representations; 4 is best for raw pixels of the embedded source, so the baseline has no handicap.
LENGTH = 4.0


def probe_features(x_ND: np.ndarray, train_rows: np.ndarray) -> np.ndarray:
    """Return what probes see, float64 ``[N, D]``: rows of length 1, centred, scaled to the length LENGTH.

    Centre and scale come from all images of the train split and from no label.
    """
    unit = normalise(x_ND).astype(np.float64)
    centred = unit - unit[train_rows].mean(axis=0)
    spread = np.sqrt(np.square(centred[train_rows]).sum(axis=1).mean())
    return centred * (LENGTH / spread if spread > 0 else 1.0)


def draw_labels(
    truth_N: np.ndarray, train_rows: np.ndarray, amounts: Sequence[int], repeats: int, seed: int, label: str
) -> dict[int, list[np.ndarray]]:
    """Draw which rows of the train split show their label: ``{labels a class: [rows int64, one a repeat]}``.

    In one repeat the rows for fewer labels are among those for more. Classes are those of the train split; there
    are no draws where it has no label. Raises UserError for a class with fewer labels than the largest amount,
    and where there is only one class.
    """
    truth = pd.Series(truth_N[train_rows], index=train_rows, dtype="object").dropna()
    rows_of = {name: rows.to_numpy() for name, rows in truth.index.to_series().groupby(truth)}
    if not rows_of:
        return {}
    if len(rows_of) == 1:
        raise UserError(
            f"the label '{label}' has only the class '{next(iter(rows_of))}' in the target's train split, so there is "
            "nothing to tell apart: correct the label table, or leave the target's labels out"
        )
    rarest = min(rows_of, key=lambda name: len(rows_of[name]))
    count = len(rows_of[rarest])
    if count < max(amounts):
        raise UserError(
            f"the class '{rarest}' of the label '{label}' has {count} images in the target's train split, fewer than "
            f"the {max(amounts)} that transfer.labels_per_class in params.yaml asks for: take {count} at most there, "
            "or label more"
        )
    drawn: dict[int, list[np.ndarray]] = {amount: [] for amount in sorted(set(amounts))}
    for repeat in range(repeats):
        rng = np.random.default_rng(derive_seed(seed, "probes", repeat))
        shuffled = [rng.permutation(rows) for rows in rows_of.values()]
        for amount in drawn:
            drawn[amount].append(np.concatenate([rows[:amount] for rows in shuffled]))
    return drawn


@threadpool_limits.wrap(limits=1)  # a probe is small: threads cost ten times what they bring
def probe(x_ND: np.ndarray, truth_N: np.ndarray, draws: Sequence[np.ndarray], test_rows: np.ndarray) -> np.ndarray:
    """Return for each draw and test image whether a logistic regression is right: float64 ``[R, T]``, NaN if unknown.

    ``x_ND`` are probe_features. The penalty is scikit-learn's default; nothing is tuned. A test image of a class
    that the train split does not have is wrong.
    """
    truth_T = truth_N[test_rows]
    known_T = ~pd.isna(truth_T)
    right_RT = np.full((len(draws), len(test_rows)), np.nan)
    for repeat, rows in enumerate(draws):
        model = LogisticRegression(max_iter=1000).fit(x_ND[rows], truth_N[rows].astype(str))
        right_RT[repeat, known_T] = model.predict(x_ND[test_rows[known_T]]) == truth_T[known_T].astype(str)
    return right_RT
