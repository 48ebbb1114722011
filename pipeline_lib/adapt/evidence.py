"""What a candidate model says of the target's images, from which it is judged without a label of theirs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.core.progress import track
from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.inference import evaluating, stream
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.labels import KINDS
from pipeline_lib.stats.shift import density_ratio, domain_probabilities

MOST_IMAGES = 2000  # of the target, drawn at random where there are more
BATCH_SIZE = 256
# The share of the first image in a mixture of two, as its authors have it.
MIXED = 0.55


@dataclass(frozen=True)
class HeldBack:
    """V labelled images of the source that no candidate was trained on.

    Attributes: ``rows`` of the images; ``classes``, the number of the class of each, and ``keys``, by which images
    that belong together are told, int64 and object ``[V]``.
    """

    rows: Rows
    classes: np.ndarray
    keys: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """Of N images of the target: their features, and the probabilities of the C classes of one label.

    Attributes: ``probabilities`` ``[N, C]`` and ``features`` ``[N, D]``, float32; ``mixed`` ``[N, C]``, the
    probabilities of mixtures, each of an image (55%) and its partner (45%), whose number among the N is in
    ``partners``, int64 ``[N]``; ``ensemble`` ``[N, C]``, the mean of the probabilities of all candidates.

    Of V labelled images of the source that trained nothing, of which there may be none: ``wrong`` ``[V]``, whether the
    predicted class is wrong, and ``ratio`` ``[V]``, p_target(x) / p_source(x) by the candidate's features.
    """

    probabilities: np.ndarray
    features: np.ndarray
    mixed: np.ndarray
    partners: np.ndarray
    ensemble: np.ndarray
    wrong: np.ndarray = field(default_factory=lambda: np.empty(0))
    ratio: np.ndarray = field(default_factory=lambda: np.empty(0))


def gather(
    models: Mapping[str, MultiTask],
    label: str,
    rows: Rows,
    device: torch.device,
    seed: int,
    held_back: HeldBack | None = None,
    keys_N: np.ndarray | None = None,
    *,
    weighted: bool = True,
) -> dict[str, Evidence]:
    """Return what each candidate says of the target's ``rows``: the same images and partners for every one.

    At most MOST_IMAGES of them are looked at; ``keys_N`` tells which of them belong together.
    Without ``weighted`` there is no ``ratio``, for which a classifier of the domain is fitted to each candidate.
    """
    shown = track(models, "adapt: judged without labels", len(models))
    said = {name: _said(models[name], label, rows, device, seed) for name in shown}
    together = np.mean([one["probabilities"] for one in said.values()], axis=0)
    if held_back is not None and len(held_back.rows):
        keys = None if keys_N is None else (held_back.keys, keys_N[sampled(len(rows), seed)])
        for name, one in said.items():
            features_VD, probabilities_VC = answers(models[name], label, held_back.rows, device)
            one["wrong"] = (probabilities_VC.argmax(axis=1) != held_back.classes).astype(np.float64)
            if weighted:
                one["ratio"] = density_ratio(domain_probabilities(features_VD, one["features"], seed, keys)[0])
    return {name: Evidence(**one, ensemble=together) for name, one in said.items()}


def _said(model: MultiTask, label: str, rows: Rows, device: torch.device, seed: int) -> dict[str, np.ndarray]:
    """Return what is Evidence of one model alone."""
    chosen = sampled(len(rows), seed)
    partners_N = np.random.default_rng(seed).permutation(len(chosen))
    features_ND, probabilities_NC = answers(model, label, Rows(rows.images, rows.rows[chosen]), device)
    mixed = []
    with torch.no_grad(), evaluating(model.to(device)):
        for part in np.array_split(np.arange(len(chosen)), -(-len(chosen) // BATCH_SIZE)):
            first, second = (rows.read(torch.from_numpy(chosen[one])).to(device) for one in (part, partners_N[part]))
            x_BCHW = MIXED * model.encoder.normalise(first) + (1 - MIXED) * model.encoder.normalise(second)
            mixed.append(_probabilities(model, label, model.encoder(x_BCHW)).cpu())
    found = {"probabilities": probabilities_NC, "features": features_ND}
    return {**found, "mixed": torch.cat(mixed).numpy(), "partners": partners_N}


def sampled(num: int, seed: int) -> np.ndarray:
    """Return the numbers of at most MOST_IMAGES of ``num`` images, drawn at random, in their order."""
    return np.sort(np.random.default_rng(seed).permutation(num)[:MOST_IMAGES])


def answers(model: MultiTask, label: str, rows: Rows, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Return the features and the probabilities of the label's classes of images, ``[N, D]`` and ``[N, C]``."""

    def keep(features_BD: Tensor) -> dict[str, Tensor]:
        return {"features": features_BD, "probabilities": _probabilities(model, label, features_BD)}

    found = stream(model.encoder, model.encoder, rows, device, BATCH_SIZE, keep, None)
    # What no images would give stands first, so that there may be none.
    nothing = {
        "features": torch.empty(0, model.encoder.num_features),
        "probabilities": torch.empty(0, len(model.specs[label]["classes"])),
    }
    features, probabilities = (torch.cat([part[key].cpu() for part in (nothing, *found)]).numpy() for key in nothing)
    return features, probabilities


def _probabilities(model: MultiTask, label: str, features_BD: Tensor) -> Tensor:
    return (
        KINDS[model.specs[label]["kind"]].probabilities(model.head(label).to(features_BD.device)(features_BD)).float()
    )
