"""The long table of predictions that the evaluation reads."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.inference import stream
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import Spec

# Probabilities of one label that are kept of one model, over all images: 40 MB. Of more there are none.
MOST_KEPT = 10_000_000
_LISTS = pa.list_(pa.float32())


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

    Its columns are ``id, model, label, predicted_class, predicted_value, confidence, probabilities``. Answers are text
    in ``predicted_class`` or numbers in ``predicted_value``, the other is null. ``ids`` are those of ``rows``, ``name``
    is the model's. ``confidence`` (float32) is the probability that the answer is right in the model's own opinion, by
    the temperatures of ``calibration`` where it has them; NaN for a kind that gives none. ``probabilities`` (a list of
    float32) are those of all classes or tags in the order of the spec, by the same temperatures; null where there are
    none, and where images and classes make more than MOST_KEPT.
    """

    def answers(outputs: dict[str, Tensor]) -> dict[str, list[np.ndarray]]:
        return {label: answer(label, spec, outputs[label]) for label, spec in model.specs.items()}

    def answer(label: str, spec: Spec, outputs_NK: Tensor) -> list[np.ndarray]:
        kind, temperature = KINDS[spec["kind"]], (calibration or {}).get(label, {}).get("temperature", 1.0)
        readable = kind.readable(outputs_NK / temperature, spec)
        said = [kind.decode(outputs_NK, spec), kind.confidence(readable).float().cpu().numpy()]
        return [*said, readable.float().cpu().numpy()] if are_kept(spec) else said

    def are_kept(spec: Spec) -> bool:
        return 0 < len(spec.get("classes", ())) * len(rows) <= MOST_KEPT

    # Without labels there is nothing to pass over the images for.
    batches = stream(model, model.encoder, rows, device, batch_size, answers, f"predict {name}") if model.specs else []
    tables = []
    for label, spec in model.specs.items():
        parts = [np.concatenate(part) for part in zip(*(batch[label] for batch in batches), strict=True)]
        values, sure, *probabilities = parts or [np.empty(0)] * 2
        nothing = np.full(len(values), None)
        texts, numbers = (values, nothing) if KINDS[spec["kind"]].stored == "string" else (nothing, values)
        tables.append(_table(np.asarray(ids), name, label, texts, numbers, sure, *probabilities))
    return pd.concat(tables, ignore_index=True) if tables else _table(np.empty(0), name, "", *[np.empty(0)] * 3)


def _table(
    ids_N: np.ndarray,
    model: str,
    label: str,
    texts_N: np.ndarray,
    numbers_N: np.ndarray,
    sure_N: np.ndarray,
    probability_NC: np.ndarray | None = None,
) -> pd.DataFrame:
    texts = {"id": ids_N, "model": [model] * len(ids_N), "label": [label] * len(ids_N), "predicted_class": texts_N}
    columns = {column: pd.array(values, dtype="string") for column, values in texts.items()}
    numbers = {"predicted_value": numbers_N.astype(np.float64), "confidence": sure_N.astype(np.float32)}
    return pd.DataFrame({**columns, **numbers, "probabilities": _lists(probability_NC, len(ids_N))})


def _lists(probability_NC: np.ndarray | None, num: int) -> pd.api.extensions.ExtensionArray:
    """Return a column with a list for each row, or with nothing in any."""
    if probability_NC is None:
        return pd.array([None] * num, dtype=pd.ArrowDtype(_LISTS))
    ends = np.arange(num + 1, dtype=np.int32) * np.int32(probability_NC.shape[1])
    lists = pa.ListArray.from_arrays(ends, probability_NC.astype(np.float32).ravel())
    return pd.arrays.ArrowExtensionArray(lists)
