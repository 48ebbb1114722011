"""The long table of predictions that the evaluation reads."""

import pandas as pd
from torch import Tensor

from pipeline_lib.heads.labels import decode
from pipeline_lib.heads.model import MultiTask, predict


def prediction_table(model: MultiTask, name: str, ids: pd.Series, images_NCHW: Tensor) -> pd.DataFrame:
    """Return ``id, model, label, predicted_class, predicted_value`` for every image and label of ``model``."""
    outputs = predict(model, images_NCHW)
    tables = [
        decode(outputs[label], spec).assign(id=ids.to_numpy(), model=name, label=label)
        for label, spec in model.specs.items()
    ]
    return pd.concat(tables)[["id", "model", "label", "predicted_class", "predicted_value"]]
