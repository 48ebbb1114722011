"""How skewed the classes of a label are."""

import numpy as np


def skew(counts: np.ndarray) -> dict[str, float | None]:
    """Describe the class counts ``[K]``, all above zero; None where there is no class.

    ``imbalance`` is n_max / n_min. ``effective_classes`` is exp(H(p)), H the entropy in nats of the shares p:
    K for even classes, towards 1 the more one class outweighs the others.
    """
    if not len(counts):
        return {"imbalance": None, "effective_classes": None}
    shares = np.asarray(counts) / np.sum(counts)
    return {
        "imbalance": float(np.max(counts) / np.min(counts)),
        "effective_classes": float(np.exp(-(shares * np.log(shares)).sum())),
    }
