"""What models predicted, laid beside what is true, image by image."""

import numpy as np
import pandas as pd


def predicted(table: pd.DataFrame, model: str, label: str, ids: pd.Series, kind: str) -> np.ndarray:
    """Return the predictions of a model for a label in the order of ``ids``: object ``[N]``, for regression float64.

    ``table`` is long (id, model, label, predicted_class, predicted_value). An image without a prediction is null.
    """
    rows = table[(table["model"] == model) & (table["label"] == label)].set_index("id")
    if kind == "regression":
        return rows["predicted_value"].reindex(ids).to_numpy(dtype=np.float64)
    return rows["predicted_class"].astype("object").reindex(ids).to_numpy()


def per_image(predicted_N: np.ndarray, truth_N: np.ndarray, kind: str) -> np.ndarray:
    """Return what each image adds to the score, float64 ``[N]``, NaN where it is not labelled.

    1 (right) or 0 for classes, where no prediction is wrong; the absolute error for regression.
    """
    if kind == "regression":
        return np.abs(predicted_N - truth_N)
    right = np.array([one == true for one, true in zip(predicted_N, truth_N, strict=True)], dtype=np.float64)
    right[pd.isna(truth_N)] = np.nan
    return right
