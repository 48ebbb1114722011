"""Favour the source images that look like the target's."""

import numpy as np

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.rows import Images
from pipeline_lib.select.selection import Selection, Weight, clipped, effective_sample_size, wanted_size
from pipeline_lib.stats.components import pixel_components
from pipeline_lib.stats.shift import density_ratio, domain_probabilities, separation

# Beyond these the ratio of densities is read where one of the two sets has no images. The effective size alone is no
# guard: two handwriting sets that never overlap (AUC .9999) can leave half of it.
MAX_DOMAIN_AUC = 0.95
MIN_EFFECTIVE_SHARE = 0.1


def importance(
    source: Images | np.ndarray,
    target: Images | np.ndarray,
    size: int | None,
    seed: int,
    *,
    max_weight: Weight = 10.0,
) -> Selection:
    """Weight each image by p_target(x) / p_source(x), clipped at ``max_weight`` (their mean is 1).

    The ratio comes from a domain classifier on the leading components of the pixels, out of fold; it reads the
    target's images and none of its labels. With a ``size``, images are drawn without replacement with
    probabilities in proportion to the weights, and then count equally. Where the sets are so far apart that the
    ratio means nothing, ``warnings`` say so, and ``weights_trusted`` is 0: the choice is still made as asked.
    """
    wanted = wanted_size(size, len(source))
    if min(len(source), len(target)) < 2:
        raise UserError(
            "method is 'importance', which needs two images in the source and in the target: "
            "choose another method, such as everything"
        )
    source_NK, target_NK = pixel_components([source, target], seed)
    source_p, target_p = domain_probabilities(source_NK, target_NK, seed)
    auc = separation(source_p, target_p)["domain_auc"]
    ratio = density_ratio(source_p)
    share = effective_sample_size(ratio) / len(ratio)
    weights = clipped(ratio, max_weight)
    trusted = auc <= MAX_DOMAIN_AUC and share >= MIN_EFFECTIVE_SHARE
    warning = (
        "the importance weights mean little: source and target are told apart with an area under the curve of "
        f"{auc:.3f} (trusted up to {MAX_DOMAIN_AUC:g}), and before clipping the weighted source is worth "
        f"{share:.1%} of its images (trusted from {MIN_EFFECTIVE_SHARE:.0%}); 'everything' is the safer method"
    )
    metrics = {"domain_auc": auc, "unclipped_sample_size_share": share, "weights_trusted": int(trusted)}
    rows = np.arange(len(source))
    if wanted < len(source):
        rng = np.random.default_rng(derive_seed(seed, "select importance"))
        rows = np.sort(rng.choice(len(source), wanted, replace=False, p=weights / weights.sum()))
        weights = np.ones(wanted)
    return Selection(rows, weights, metrics, () if trusted else (warning,))
