"""The long table of predictions that the evaluation reads."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.inference import stream
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.labels import KINDS


def prediction_table(
    model: MultiTask, name: str, ids: Sequence[str] | pd.Series, rows: Rows, device: torch.device, batch_size: int
) -> pd.DataFrame:
    """Return ``id, model, label, predicted_class, predicted_value`` for every image of ``rows`` and label of ``model``.

    Answers are text in ``predicted_class`` or numbers in ``predicted_value``, the other is null. ``ids`` are those of
    ``rows``, ``name`` is the model's.
    """

    def answers(outputs: dict[str, Tensor]) -> dict[str, np.ndarray]:
        return {label: KINDS[spec["kind"]].decode(outputs[label], spec) for label, spec in model.specs.items()}

    # Without labels there is nothing to pass over the images for.
    batches = stream(model, model.encoder, rows, device, batch_size, answers, f"predict {name}") if model.specs else []
    tables = []
    for label, spec in model.specs.items():
        values = np.concatenate([batch[label] for batch in batches]) if batches else np.empty(0)
        nothing = np.full(len(values), None)
        texts, numbers = (values, nothing) if KINDS[spec["kind"]].stored == "string" else (nothing, values)
        tables.append(_table(np.asarray(ids), name, label, texts, numbers))
    return pd.concat(tables, ignore_index=True) if tables else _table(np.empty(0), name, "", np.empty(0), np.empty(0))


def _table(ids_N: np.ndarray, model: str, label: str, texts_N: np.ndarray, numbers_N: np.ndarray) -> pd.DataFrame:
    texts = {"id": ids_N, "model": [model] * len(ids_N), "label": [label] * len(ids_N), "predicted_class": texts_N}
    columns = {column: pd.array(values, dtype="string") for column, values in texts.items()}
    return pd.DataFrame({**columns, "predicted_value": numbers_N.astype(np.float64)})
