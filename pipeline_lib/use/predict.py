"""A table of what a model says of new pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from pipeline_lib.data.samples import Sample
from pipeline_lib.encoders.inference import stream
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.labels import KINDS
from pipeline_lib.use.files import Files
from pipeline_lib.use.model import Usable


class _Answering(nn.Module):
    """Gives features and outputs of one pass."""

    def __init__(self, model: MultiTask) -> None:
        super().__init__()
        self.model = model

    def forward(self, x_BCHW: Tensor) -> dict[str, Any]:
        features_BD = self.model.encoder(x_BCHW)
        return {"features": features_BD, "outputs": self.model.outputs(features_BD)}


def predict(usable: Usable, samples: Sequence[Sample], device: torch.device, batch_size: int) -> pd.DataFrame:
    """Return a row for each of ``samples``, in their order, and each label of the model, with these columns:

    - file and label
    - answer, text, or value, float64, for a label that is a number: as the stages predict them; the other is null
    - confidence: the probability that the model gives its answer, null for numbers
    - calibrated: whether that probability was calibrated on held-out images
    - distance: how far the image is from what the model was trained on, and unfamiliar: whether that is further than
      for nearly all held-out images; null for a model that does not know
    - problem: why the picture cannot be used, null for all others; then nothing is answered

    The pictures are read, framed and passed batch by batch. Progress is shown.
    """
    files = Files(samples, usable.framing)

    def answers(found: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return _columns(usable, found["features"], found["outputs"])

    model = usable.model
    batches = stream(_Answering(model), model.encoder, files, device, batch_size, answers, "predict")
    columns = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    paths = np.repeat([sample.path for sample in samples], len(model.specs))
    problems = [files.broken.get(path) for path in paths]
    broken = pd.notna(pd.Series(problems, dtype=object))
    calibrated = [label in usable.temperatures for label in model.specs]
    table = pd.DataFrame(
        {
            "file": pd.array(paths, dtype="string"),
            "label": pd.array(np.tile(list(model.specs), len(samples)), dtype="string"),
            "answer": pd.array(columns["answer"], dtype="string"),
            "value": columns["value"],
            "confidence": columns["confidence"],
            "calibrated": pd.array(np.tile(calibrated, len(samples)), dtype="boolean"),
            "distance": columns["distance"],
            "unfamiliar": _unfamiliar(usable, columns["distance"]),
            "problem": pd.array(problems, dtype="string"),
        }
    )
    said = ["answer", "value", "confidence", "calibrated", "distance", "unfamiliar"]
    table[said] = table[said].mask(broken)
    return table


def _columns(usable: Usable, features_BD: Tensor, outputs: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Return the columns of a batch, an image's labels after one another."""
    readable, known = usable.readable(outputs), usable.familiarity
    num_images, specs = len(features_BD), usable.model.specs
    answer_BL = np.full((num_images, len(specs)), None, dtype=object)
    value_BL, confidence_BL = (np.full((num_images, len(specs)), np.nan) for _ in range(2))
    for place, (label, spec) in enumerate(specs.items()):
        kind = KINDS[spec["kind"]]
        column_BL = answer_BL if kind.stored == "string" else value_BL
        column_BL[:, place] = kind.decode(outputs[label], spec)
        confidence_BL[:, place] = kind.confidence(readable[label]).cpu().numpy()
    distance_B = known.distances(features_BD).cpu().numpy() if known else np.full(num_images, np.nan)
    return {
        "answer": answer_BL.ravel(),
        "value": value_BL.ravel(),
        "confidence": confidence_BL.ravel(),
        "distance": np.repeat(distance_B, len(specs)),
    }


def _unfamiliar(usable: Usable, distance: np.ndarray) -> pd.Series:
    if usable.familiarity is None:
        return pd.Series([None] * len(distance), dtype="boolean")
    return pd.Series(distance > usable.familiarity.threshold, dtype="boolean")
