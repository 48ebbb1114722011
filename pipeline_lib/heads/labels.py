"""Labels as tensors: classes numbered, numbers standardised, what is missing kept out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.dataset import Dataset

# Marks "not labelled" among the numbers of classes, as torch's cross entropy expects.
MISSING = -100


def label_specs(dataset: Dataset, kinds: Mapping[str, str], rows: np.ndarray) -> dict[str, dict[str, Any]]:
    """Describe each label by what the rows to train on hold: its classes in order, or its mean and spread.

    Raises UserError for a label without a value, or with one class only.
    """
    specs: dict[str, dict[str, Any]] = {}
    for name, kind in kinds.items():
        values = pd.Series(dataset.label(name))[rows].dropna()
        if values.empty:
            raise UserError(f"the label '{name}' has no value in the source's train split: label some, or remove it")
        if kind == "regression":
            specs[name] = {"kind": kind, "mean": float(values.mean()), "std": float(values.std(ddof=0)) or 1.0}
            continue
        known = set(values)
        classes = [c for c in dataset.card["labels"][name]["classes"] if c in known]
        if len(classes) < 2 or (kind == "binary" and len(classes) > 2):
            raise UserError(
                f"the label '{name}' has {len(classes)} classes in the source's train split "
                f"({', '.join(classes[:5])}), "
                f"but a {kind} label needs {'two' if kind == 'binary' else 'at least two'}: "
                "correct the label table, or the labels block of params.yaml"
            )
        specs[name] = {"kind": kind, "classes": classes}
    return specs


def encode(values: Sequence[Any], spec: Mapping[str, Any]) -> Tensor:
    """Return class numbers int64 ``[N]`` (MISSING where unknown), or standardised float32 ``[N]`` (NaN)."""
    if spec["kind"] == "regression":
        numbers = np.asarray(values, dtype=np.float64)
        return torch.from_numpy((numbers - spec["mean"]) / spec["std"]).float()
    number = {name: index for index, name in enumerate(spec["classes"])}
    return torch.tensor([number.get(value, MISSING) if isinstance(value, str) else MISSING for value in values])


def decode(outputs: Tensor, spec: Mapping[str, Any]) -> pd.DataFrame:
    """Return predictions of one label, ``predicted_class`` (text) and ``predicted_value``, from ``[N, K]`` outputs."""
    if spec["kind"] == "regression":
        values = outputs.squeeze(1).double().numpy() * spec["std"] + spec["mean"]
        return pd.DataFrame(
            {"predicted_class": pd.array([None] * len(values), dtype="string"), "predicted_value": values}
        )
    chosen = [spec["classes"][index] for index in outputs.argmax(dim=1).tolist()]
    return pd.DataFrame({"predicted_class": pd.array(chosen, dtype="string"), "predicted_value": np.nan})
