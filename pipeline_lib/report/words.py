"""Numbers and names as people say them. Names come from users, so they are cleaned before they enter a sentence."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

MOST_NAMED = 4
MOST_LETTERS = 60  # of a name inside a sentence
MINUS = "\N{MINUS SIGN}"


class Metric(NamedTuple):
    """How a score is said: with its article, and in percent, as a bare index, or in the label's own unit."""

    article: str
    words: str
    unit: str  # "share", "index" or "own"

    @property
    def phrase(self) -> str:
        """The name of the score with its article."""
        return f"{self.article} {self.words}"


METRICS = {
    "balanced_accuracy": Metric("a", "balanced accuracy", "share"),
    "accuracy": Metric("an", "accuracy", "share"),
    "subset_accuracy": Metric("a", "subset accuracy", "share"),
    "macro_f1": Metric("a", "macro F1", "share"),
    "auroc": Metric("an", "area under the ROC curve", "index"),
    "mean_average_precision": Metric("a", "mean average precision", "index"),
    "calibration_error": Metric("a", "calibration error", "share"),
    "quadratic_kappa": Metric("a", "weighted kappa", "index"),
    "ari": Metric("an", "adjusted Rand index", "index"),
    "ami": Metric("an", "adjusted mutual information", "index"),
    "r2": Metric("an", "R²", "index"),
    "mae": Metric("a", "mean error", "own"),
}
NAMES = {
    "pixels": "raw pixels",
    "start": "the encoder before pretraining",
    "untrained": "an untrained encoder",
    "pretrained": "the pretrained encoder",
    "supervised": "the encoder trained with labels",
    "adapted": "the adapted encoder",
    "scratch": "a model trained from scratch",
    "frozen": "heads on the frozen encoder",
    "last_block": "the encoder with its last block trained",
    "all": "the encoder trained as a whole",
    "lp_ft": "the encoder trained after its heads",
    "layer_decay": "the encoder trained more slowly in its first layers",
    "l2_sp": "the encoder trained near its pretrained weights",
    "low_rank": "the encoder with low-rank updates of its layers",
    "single_task": "a model of its own",
    "multi_task": "one model for all labels",
    "source_only": "the model as trained on the source",
    "auto": "the model that was chosen without target labels",
    "constant": "a constant answer",
}
CLUSTERERS = {"kmeans": "k-means", "hdbscan": "HDBSCAN"}


def is_number(value: Any) -> bool:
    """Say whether ``value`` is a finite number."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def clean(name: str, most: int = MOST_LETTERS) -> str:
    """Return a name as it may stand in a sentence or a terminal: printable, on one line, of ``most`` letters."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def quoted(name: str) -> str:
    """Return the name of a label or class between quotes."""
    return f"'{clean(name)}'"


def metric(name: str) -> Metric:
    """Return how the score is said; one without an entry is a bare index under its own name."""
    return METRICS.get(name, Metric("a", clean(name).replace("_", " "), "index"))


def named(baseline: str, of: str = "") -> str:
    """Return what a baseline is, such as "raw pixels"; ``of`` is the metric, because clusters are no answers."""
    if baseline == "constant" and of in ("ari", "ami"):
        return "one single cluster"
    return NAMES.get(baseline) or clean(baseline)


def score(value: Any, of: str) -> str:
    """Return a score by its metric: "97.6%", an index as "0.63", an error to three digits."""
    if not is_number(value):
        return "not known"
    unit = metric(of).unit
    if unit == "share":
        return f"{100 * value + 0:.1f}%"
    return _signless(f"{value:.2f}") if unit == "index" else significant(value)


def difference(gain: float, of: str) -> str:
    """Return a difference with its sign: "+6.5 points" of percent, or as a plain number."""
    unit = metric(of).unit
    if unit == "share":
        text = f"{100 * gain:+.1f}"
    else:
        text = f"{gain:+.2f}" if unit == "index" else f"{'+' if gain > 0 else ''}{significant(gain)}"
    text = text if float(text.replace(",", "").replace(MINUS, "-")) else text.lstrip("+-")
    return text.replace("-", MINUS) + (" points" if unit == "share" else "")


def between(low: Any, high: Any, of: str) -> str:
    """Return "95% interval +4.9 to +8.1", or "" where there is none."""
    if not (is_number(low) and is_number(high)):
        return ""
    ends = (difference(end, of).removesuffix(" points") for end in (low, high))
    return f"95% interval {' to '.join(ends)}"


def signed_percent(share: float) -> str:
    """Return a relative change, such as "+3.2%"."""
    return difference(share, "accuracy").replace(" points", "%")


def significant(value: float) -> str:
    """Return a number to three digits, without an exponent unless it is tiny."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else "0"


def runs(num_seeds: int) -> str:
    """Return over how much training something was seen."""
    return "in this one run" if num_seeds <= 1 else f"over {num_seeds} seeds"


def count(number: int, one: str, many: str | None = None) -> str:
    """Return "1 class" or "2 classes": the number with the noun that agrees with it."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def joined(parts: Sequence[str], word: str = "and") -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return f" {word} ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def some(parts: Iterable[str], word: str = "and") -> str:
    """Join the first few parts, and say how many more there are."""
    known = list(parts)
    more = len(known) - MOST_NAMED
    return joined([*known[:MOST_NAMED], f"{more} more"] if more > 0 else known, word)


def clustering(space: str, clusterer: str) -> str:
    """Return how images were grouped, such as "k-means in UMAP space"."""
    name = CLUSTERERS.get(clusterer) or clean(clusterer)
    return f"{name} in UMAP space" if space == "umap" else name


def capital(text: str) -> str:
    """Return ``text`` with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def _signless(text: str) -> str:
    """Return a rounded number without the sign of a negative zero, and with a real minus."""
    return (text if float(text) else text.lstrip("-")).replace("-", MINUS)
