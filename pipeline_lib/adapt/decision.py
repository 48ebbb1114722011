"""What is handed on, of a model and what adapters made of it, by no label of the target."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from pipeline_lib.adapt.choice import SOURCE_ONLY, choose
from pipeline_lib.adapt.evidence import Evidence, HeldBack, answers, gather, sampled
from pipeline_lib.adapt.scorers import SCORERS, WITH_SOURCE
from pipeline_lib.adapt.shift import find_shift
from pipeline_lib.data.rows import Rows
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.labels.kind import MIN_JUDGED
from pipeline_lib.stats.shift import Keys

UNSHIFTED = {"none": "no_shift", "prior": "other_prior"}
# With fewer labelled images of the source that trained nothing, what was forgotten is not told.
LEAST_HELD_BACK = 20


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
    ``prior_C`` is the share of each class in the source, none of them 0. ``held_back`` says which candidates
    ``forgot`` the source (:func:`forgotten`), which are not chosen, and is what the scorers WITH_SOURCE go by. A model
    is left as it is where there is no shift but in that share, however well adapters score: they could only do harm.
    """
    weighted = not WITH_SOURCE.isdisjoint(scorers)
    evidence = gather(models, label, target, device, seed, held_back, keys[1] if keys else None, weighted=weighted)
    scores = {name: {scorer: SCORERS[scorer](one) for scorer in scorers} for name, one in evidence.items()}
    forgot = forgotten(evidence, held_back)
    every, choice = choose(scores), choose({name: of for name, of in scores.items() if name not in forgot})
    before = evidence[SOURCE_ONLY]
    of_source, of_target = (sampled(len(rows), seed) for rows in (held_out, target))
    source_MD, source_MC = answers(models[SOURCE_ONLY], label, Rows(held_out.images, held_out.rows[of_source]), device)
    of_looked_at = (keys[0][of_source], keys[1][of_target]) if keys else None
    shift = find_shift(source_MD, source_MC, before.features, before.probabilities, prior_C, seed, of_looked_at)
    classes = models[SOURCE_ONLY].specs[label]["classes"]
    told = {**asdict(shift), "prior": dict(zip(classes, shift.prior.tolist(), strict=True))}
    found = {"label": label, "scores": scores, "ranks": dict(every.ranks), "forgot": forgot, "shift": told}
    if reason := UNSHIFTED.get(shift.found):
        return {**found, "chosen": SOURCE_ONLY, "reason": reason}
    is_lost = choice.name == SOURCE_ONLY != every.name
    return {**found, "chosen": choice.name, "reason": "forgot" if is_lost else choice.reason}


def forgotten(evidence: Mapping[str, Evidence], held_back: HeldBack | None) -> list[str]:
    """Return the candidates that are right on the source about as seldom as a constant answer.

    That is to say that their accuracy on the ``held_back`` images, or their balanced accuracy, is nearer to that of the
    best constant answer than to that of the model before. Where that is no better itself, a measure tells nothing:
    accuracy often, where heads let rare classes count as much. None is where there are too few images; classes of fewer
    than MIN_JUDGED have no part in balanced accuracy.
    """
    if held_back is None or len(held_back.classes) < LEAST_HELD_BACK:
        return []
    _, class_N, counts = np.unique(held_back.classes, return_inverse=True, return_counts=True)
    judged = counts >= MIN_JUDGED
    found = set()
    of_images, of_classes = counts / counts.sum(), judged / max(1, judged.sum())
    for weights_C in (of_images, of_classes):
        constant = float(weights_C.max())
        right = {
            name: float(np.bincount(class_N, 1 - one.wrong) / counts @ weights_C) for name, one in evidence.items()
        }
        before = right[SOURCE_ONLY]
        found |= {name for name, one in right.items() if before > constant and one < (before + constant) / 2}
    return [name for name in evidence if name in found]
