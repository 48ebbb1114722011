"""Numbers as people say them."""

from collections.abc import Iterable, Mapping
from typing import Any

MAX_NAMED = 4
CLUSTERER_NAMES = {"kmeans": "k-means", "hdbscan": "HDBSCAN"}


def percent(share: float) -> str:
    """Return a share as "98.7%"."""
    return f"{100 * share:.1f}%"


def signed(share: float) -> str:
    """Return hundredths with their sign, such as "+6.5"."""
    return f"{round(100 * share, 1) + 0:+.1f}"  # adding 0 turns -0.0 into 0.0


def points(gain: Mapping[str, Any]) -> str:
    """Return a gain with its interval, such as "+6.5 points (95% interval +4.9 to +8.1)"."""
    return f"{signed(gain['gain'])} points (95% interval {signed(gain['low'])} to {signed(gain['high'])})"


def labels(amount: int) -> str:
    """Return "1 label" or "5 labels"."""
    return f"{amount} label{'s' if amount > 1 else ''}"


def clustering(space: str, clusterer: str) -> str:
    """Return how images were grouped, such as "k-means in UMAP space"."""
    name = CLUSTERER_NAMES.get(clusterer, clusterer)
    return f"{name} in UMAP space" if space == "umap" else name


def score(value: float, kind: str) -> str:
    """Return the score of a label: an accuracy as a share, a mean error in the label's unit."""
    return f"{value:.2g} off" if kind == "regression" else percent(value)


def some(names: Iterable[str]) -> str:
    """Join the first few names, and say how many more there are."""
    first = list(names)
    more = f" and {len(first) - MAX_NAMED} more" if len(first) > MAX_NAMED else ""
    return ", ".join(first[:MAX_NAMED]) + more
