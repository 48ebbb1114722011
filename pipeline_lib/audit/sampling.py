"""How a set was drawn: groups of images that belong together, and how many independent images it is worth."""

from typing import Any

import numpy as np


def groups(features_ND: np.ndarray, keys_N: np.ndarray) -> dict[str, Any]:
    """Describe the groups of a set and what they cost.

    ``effective`` is n divided by Kish's design effect 1 + (m - 1) rho, where m = sum of m_g^2 / n is the size of the
    group that an image is in on average, and rho the share of the variance of the features that lies between groups
    (intraclass correlation by analysis of variance, the features weighted by their variance): n where images of a group
    are as unlike as any, and the number of equal groups where they are the same.
    """
    _, group_of_N, sizes = np.unique(keys_N, return_inverse=True, return_counts=True)
    total, num_groups = len(keys_N), len(sizes)
    found = {"num_groups": num_groups, "largest": int(sizes.max(initial=0)), "correlation": None, "effective": total}
    if not 1 < num_groups < total:
        return found
    means = np.zeros((num_groups, features_ND.shape[1]))
    np.add.at(means, group_of_N, features_ND)
    means /= sizes[:, None]
    centre = features_ND.mean(axis=0, dtype=np.float64)
    between = float((sizes[:, None] * (means - centre) ** 2).sum()) / (num_groups - 1)
    within = float(((features_ND - means[group_of_N]) ** 2).sum()) / (total - num_groups)
    common = (total - (sizes**2).sum() / total) / (num_groups - 1)
    spread = between + (common - 1) * within
    correlation = min(1.0, max(0.0, (between - within) / spread)) if spread > 0 else 0.0
    met = float((sizes**2).sum() / total)
    return {**found, "correlation": correlation, "effective": round(total / (1 + (met - 1) * correlation))}
