"""What is handed on, of a model and what adapters made of it, by no label of the target."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from pipeline_lib.adapt.choice import SOURCE_ONLY, choose
from pipeline_lib.adapt.evidence import HeldBack, answers, gather, sampled
from pipeline_lib.adapt.scorers import SCORERS
from pipeline_lib.adapt.shift import find_shift
from pipeline_lib.data.rows import Rows
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.stats.shift import Keys

UNSHIFTED = {"none": "no_shift", "prior": "other_prior"}


def decide(
    models: Mapping[str, MultiTask],
    label: str,
    target: Rows,
    held_out: Rows,
    prior_C: np.ndarray,
    scorers: Sequence[str],
    device: torch.device,
    seed: int,
    keys: Keys | None = None,
    held_back: HeldBack | None = None,
) -> dict[str, Any]:
    """Choose among ``models``, of which the one before any adapter is named SOURCE_ONLY.

    Returns ``chosen`` and the code of its ``reason``, the ``scores`` of each model by scorer, its mean rank under
    ``ranks``, and under ``shift`` how the domains differ for the model before. ``held_out`` are images of the source
    that nothing was trained on, whose labels are not needed; ``keys`` are those of them and of the target's images.
    ``prior_C`` is the share of each class in the source, none of them 0. ``held_back`` is what the scorers WITH_SOURCE
    go by, which cannot tell without it. A model is left as it is where there is no shift but in that share, however
    well adapters score: they could only do harm.
    """
    evidence = gather(models, label, target, device, seed, held_back, keys[1] if keys else None)
    scores = {name: {scorer: SCORERS[scorer](one) for scorer in scorers} for name, one in evidence.items()}
    choice, before = choose(scores), evidence[SOURCE_ONLY]
    of_source, of_target = (sampled(len(rows), seed) for rows in (held_out, target))
    source_MD, source_MC = answers(models[SOURCE_ONLY], label, Rows(held_out.images, held_out.rows[of_source]), device)
    of_looked_at = (keys[0][of_source], keys[1][of_target]) if keys else None
    shift = find_shift(source_MD, source_MC, before.features, before.probabilities, prior_C, seed, of_looked_at)
    classes = models[SOURCE_ONLY].specs[label]["classes"]
    told = {**asdict(shift), "prior": dict(zip(classes, shift.prior.tolist(), strict=True))}
    found = {"label": label, "scores": scores, "ranks": dict(choice.ranks), "shift": told}
    if reason := UNSHIFTED.get(shift.found):
        return {**found, "chosen": SOURCE_ONLY, "reason": reason}
    return {**found, "chosen": choice.name, "reason": choice.reason}
