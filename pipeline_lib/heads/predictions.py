"""The long table of predictions that the evaluation reads."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.inference import stream
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import Spec


def prediction_table(
    model: MultiTask,
    name: str,
    ids: Sequence[str] | pd.Series,
    rows: Rows,
    device: torch.device,
    batch_size: int,
    calibration: Mapping[str, Mapping[str, float]] | None = None,
) -> pd.DataFrame:
    """Return a table of what ``model`` says of every label of every image of ``rows``.

    Its columns are ``id, model, label, predicted_class, predicted_value, confidence``. Answers are text in
    ``predicted_class`` or numbers in ``predicted_value``, the other is null. ``ids`` are those of ``rows``, ``name`` is
    the model's. ``confidence`` (float32) is the probability that the answer is right in the model's own opinion, by the
    temperatures of ``calibration`` where it has them; NaN for a kind that gives none.
    """

    def answers(outputs: dict[str, Tensor]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {label: answer(label, spec, outputs[label]) for label, spec in model.specs.items()}

    def answer(label: str, spec: Spec, outputs_NK: Tensor) -> tuple[np.ndarray, np.ndarray]:
        kind, temperature = KINDS[spec["kind"]], (calibration or {}).get(label, {}).get("temperature", 1.0)
        confidence_N = kind.confidence(kind.readable(outputs_NK / temperature, spec))
        return kind.decode(outputs_NK, spec), confidence_N.float().cpu().numpy()

    # Without labels there is nothing to pass over the images for.
    batches = stream(model, model.encoder, rows, device, batch_size, answers, f"predict {name}") if model.specs else []
    tables = []
    for label, spec in model.specs.items():
        values, sure = (
            np.concatenate([batch[label][part] for batch in batches]) if batches else np.empty(0) for part in (0, 1)
        )
        nothing = np.full(len(values), None)
        texts, numbers = (values, nothing) if KINDS[spec["kind"]].stored == "string" else (nothing, values)
        tables.append(_table(np.asarray(ids), name, label, texts, numbers, sure))
    return pd.concat(tables, ignore_index=True) if tables else _table(np.empty(0), name, "", *[np.empty(0)] * 3)


def _table(
    ids_N: np.ndarray, model: str, label: str, texts_N: np.ndarray, numbers_N: np.ndarray, sure_N: np.ndarray
) -> pd.DataFrame:
    texts = {"id": ids_N, "model": [model] * len(ids_N), "label": [label] * len(ids_N), "predicted_class": texts_N}
    columns = {column: pd.array(values, dtype="string") for column, values in texts.items()}
    numbers = {"predicted_value": numbers_N.astype(np.float64), "confidence": sure_N.astype(np.float32)}
    return pd.DataFrame({**columns, **numbers})
