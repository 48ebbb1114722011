"""Favour the source images that look like the target's."""

import numpy as np

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.select.ratios import RATIOS, By, Pair
from pipeline_lib.select.selection import Selection, Weight, clipped, wanted_size
from pipeline_lib.stats.shift import effective_sample_size

# Beyond these the ratio of densities is read where one of the two sets has no images. The effective size alone is no
# guard: two handwriting sets that never overlap (AUC .9999) can leave half of it.
MAX_DOMAIN_AUC = 0.95
MIN_EFFECTIVE_SHARE = 0.1
# What no estimate tells from nothing, beside the mean: no image weighs nothing, or it could not be drawn at all.
LEAST = 1e-6


def importance(
    source_ND: np.ndarray,
    target_MD: np.ndarray,
    size: int | None,
    seed: int,
    *,
    by: By = "classifier",
    max_weight: Weight = 10.0,
) -> Selection:
    """Weight each image by p_target(x) / p_source(x), clipped at ``max_weight`` (their mean is 1).

    The ratio is estimated as ``by`` says: by the odds of a domain classifier out of fold, by uLSIF or by KMM. With a
    ``size``, images are drawn without replacement with probabilities in proportion to the weights, and then count
    equally. Where the sets are so far apart that the ratio means nothing, ``warnings`` say so, and ``weights_trusted``
    is 0: the choice is still made as asked.
    """
    wanted = wanted_size(size, len(source_ND))
    pair = paired(source_ND, target_MD, seed, "importance")
    auc, ratio = pair.domain_auc, RATIOS[by](pair)
    ratio = np.maximum(ratio / (ratio.mean() or 1.0), LEAST)
    share = effective_sample_size(ratio) / len(ratio)
    weights = clipped(ratio, max_weight)
    trusted = auc <= MAX_DOMAIN_AUC and share >= MIN_EFFECTIVE_SHARE
    warning = (
        "the importance weights mean little: source and target are told apart with an area under the curve of "
        f"{auc:.3f} (trusted up to {MAX_DOMAIN_AUC:g}), and before clipping the weighted source is worth "
        f"{share:.1%} of its images (trusted from {MIN_EFFECTIVE_SHARE:.0%}); 'everything' is the safer method"
    )
    metrics = {"domain_auc": auc, "unclipped_sample_size_share": share, "weights_trusted": int(trusted)}
    rows = np.arange(len(source_ND))
    if wanted < len(source_ND):
        rng = np.random.default_rng(derive_seed(seed, "select importance"))
        rows = np.sort(rng.choice(len(source_ND), wanted, replace=False, p=weights / weights.sum()))
        weights = np.ones(wanted)
    return Selection(rows, weights, metrics, () if trusted else (warning,))


def paired(source_ND: np.ndarray, target_MD: np.ndarray, seed: int, method: str) -> Pair:
    """Return both sets as what ratios are estimated from; raise UserError where one has fewer than two images."""
    if min(len(source_ND), len(target_MD)) < 2:
        raise UserError(
            f"method is '{method}', which needs two images in the source and in the target: "
            "choose another method, such as everything"
        )
    return Pair(source_ND, target_MD, seed)
