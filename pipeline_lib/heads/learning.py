"""One strategy from its start to its end: heads fitted, the rest trained, and what images held back say of it.

N counts the training images, V those that are held back: the validation part.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.rows import Rows
from pipeline_lib.data.split import draw_split
from pipeline_lib.encoders.inference import features, stream
from pipeline_lib.heads.calibration import temperature
from pipeline_lib.heads.fitting import choose_penalties, fit_heads, has_value, held_out_folds
from pipeline_lib.heads.learner import HeadsLearner
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.heads.resampling import resampled
from pipeline_lib.heads.strategies import Strategy
from pipeline_lib.heads.weightings import WEIGHTINGS, Weighting
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.balance import class_weights

VALIDATION, FEW = 0.1, 20
BATCH_SIZE = 512  # of images that nothing is trained on


@dataclass(frozen=True)
class Validated:
    """What the validation part says of a trained model: each label's loss (None where no image of it has the label).

    Attributes: ``losses`` by label, after calibration; ``calibration`` of each label with classes: its ``temperature``
    and the number of ``images`` that it was fitted to.
    """

    losses: Mapping[str, float | None]
    calibration: Mapping[str, Mapping[str, float]]

    @property
    def loss(self) -> float:
        """The mean over the labels of which an image is held back; 0 without any."""
        found = [loss for loss in self.losses.values() if loss is not None]
        return float(np.mean(found)) if found else 0.0


def validation_part(keys_N: np.ndarray, seed: int) -> np.ndarray:
    """Return which training images are held back, bool ``[N]``: a tenth, and images of one key on one side.

    None is where there are fewer than FEW, for what two of them say is chance, or where less than two would be left.
    """
    sides = draw_split(keys_N.tolist(), VALIDATION, derive_seed(seed, "validation"))
    part_N = np.array(sides, dtype=object) == "test"
    return part_N & (len(part_N) >= FEW and (~part_N).sum() > 1)


def learn(
    strategy: Strategy,
    model: MultiTask,
    rows: Rows,
    labels: Mapping[str, Tensor],
    keys_N: np.ndarray,
    views: Callable[[Tensor], list[Tensor]],
    train: Callable[..., pd.DataFrame],
    device: torch.device,
    seed: int,
    *,
    weights_N: np.ndarray | None = None,
    weighting: Callable[[int], Weighting] = WEIGHTINGS["equal"],
    class_balanced: bool = False,
) -> tuple[pd.DataFrame, Validated]:
    """Train ``model`` by a strategy, in place; return how that went (epoch, loss) and what held-back images say.

    The attribute ``attrs["affinity"]`` of the former has the tables of :class:`~pipeline_lib.heads.affinity.Affinity`,
    if several labels have trained an encoder.

    ``rows`` are the training images, ``labels`` their columns as :func:`~pipeline_lib.heads.learner.label_columns`
    makes them, and ``keys_N`` tells images apart that must not be torn. ``train`` fits a learner to columns, given
    ``weights`` too where there are ``weights_N`` (positive): an image is seen in proportion to its own.
    ``weighting`` makes one loss of those of several labels, see :mod:`pipeline_lib.heads.weightings`;
    ``class_balanced`` lets rare classes count more in what is fitted, by
    :func:`~pipeline_lib.labels.balance.class_weights`. The validation part depends on ``seed`` and the keys, counts
    every image alike and trains nothing; only heads that are all there is to train are fitted to it too, once it has
    spoken, for that takes no time.
    """
    part_N = validation_part(keys_N, seed)
    history = pd.DataFrame({"epoch": [], "loss": []})
    names, trains = list(model.specs), strategy.trains(model.encoder)
    fitted = torch.from_numpy(np.flatnonzero(~part_N))
    of_classes = {
        name: class_weights(column[fitted], len(spec["classes"])).to(device)
        for (name, spec), column in zip(model.specs.items(), labels.values(), strict=True)
        if class_balanced and KINDS[spec["kind"]].has_classes
    }
    if strategy.heads_first:
        features_ND = torch.from_numpy(features(model.encoder, rows, device, BATCH_SIZE, "features")).to(device)
        encoded = [column.to(device) for column in labels.values()]
        rows_N = _counted(np.flatnonzero(~part_N), weights_N, seed)
        given = (model.to(device), names, features_ND[rows_N], [column[rows_N] for column in encoded])
        folds_N = held_out_folds(keys_N[rows_N], derive_seed(seed, "folds")).to(device)
        penalties = choose_penalties(*given, folds_N, of_classes)
        fit_heads(*given, penalties, of_classes)
    if trains:
        columns: dict[str, Any] = {"images_BCHW": Rows(rows.images, rows.rows[~part_N])}
        columns |= {name: one[fitted] for name, one in labels.items()}
        of_images = {} if weights_N is None else {"weights": torch.from_numpy(weights_N[~part_N])}
        combine = weighting if len(names) > 1 else WEIGHTINGS["equal"]
        learner = HeadsLearner(model, views, strategy, combine(len(names)), of_classes)
        history = train(learner, columns, **of_images)
        if strategy.layers:
            strategy.layers.merge(model.encoder)
        history.attrs["affinity"] = learner.affinity.found if learner.affinity else []
    held_back = {name: column[torch.from_numpy(part_N)] for name, column in zip(names, labels.values(), strict=True)}
    validated = validate(model, Rows(rows.images, rows.rows[part_N]), held_back, device)
    if not trains:
        every_N = _counted(np.arange(len(part_N)), weights_N, seed)
        fit_heads(model, names, features_ND[every_N], [column[every_N] for column in encoded], penalties, of_classes)
    return history, validated


def _counted(rows: np.ndarray, weights_N: np.ndarray | None, seed: int) -> np.ndarray:
    """Return the rows as often as their weights say."""
    return rows if weights_N is None else rows[resampled(weights_N[rows], derive_seed(seed, "weights"))]


def validate(model: MultiTask, rows: Rows, encoded: Mapping[str, Tensor], device: torch.device) -> Validated:
    """Return what images that trained nothing say of a model; ``encoded`` are their values by label, ``[V]``."""
    batches = stream(model, model.encoder, rows, device, BATCH_SIZE, lambda outputs: outputs, None)
    losses: dict[str, float | None] = {}
    calibration = {}
    for name, spec in model.specs.items():
        kind, known_V = KINDS[spec["kind"]], has_value(encoded[name])
        outputs_VK = torch.cat([batch[name] for batch in batches])[known_V] if batches else torch.empty(0)
        if kind.has_classes:
            found = temperature(outputs_VK, encoded[name][known_V])
            calibration[name] = {"temperature": round(found, 4), "images": len(outputs_VK)}
            outputs_VK = outputs_VK / found
        losses[name] = float(kind.loss(outputs_VK, encoded[name][known_V])) if len(outputs_VK) else None
    return Validated(losses, calibration)


def choose_strategy(found: Mapping[str, Validated], names: Sequence[str]) -> str:
    """Return the strategy with the least mean loss on the validation part, the first of several."""
    return min(names, key=lambda name: found[name].loss)
