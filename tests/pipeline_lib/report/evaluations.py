"""Contents of evaluation.json of any shape: invented numbers that agree with the outcomes they are given."""

from typing import Any

METRICS = {
    "multiclass": ("balanced_accuracy", True),
    "binary": ("balanced_accuracy", True),
    "ordinal": ("quadratic_kappa", True),
    "multilabel": ("balanced_accuracy", True),
    "regression": ("mae", False),
}
BASELINES = {
    "self-taught": ("pretrained", ("pixels", "start", "constant")),
    "multi-task": ("multi_task", ("single_task", "constant")),
    "transductive": ("shot_im", ("source_only", "constant")),
    "unsupervised": ("pretrained", ("pixels", "start", "constant")),
}
OUTCOMES = ("helped", "harmed", "unclear", "not_measurable")
REASONS = (
    "no_target_test_labels",
    "no_target_train_labels",
    "not_learnt_from_source",
    "not_adapted",
    "not_learnt",
    "one_label",
    "not_alone",
    "one_class",
    "too_few_images",
    "not_classes",
    "a_code_of_tomorrow",
)
REPRESENTATIONS = ("pixels", "start", "pretrained", "adapted")


def make_task(
    name: str = "digit", kind: str = "multiclass", learn_from: str = "source", tested: int = 200
) -> dict[str, Any]:
    cells = {"source": "multi-task and transductive", "target": "inductive", "nothing": "unsupervised"}
    if learn_from == "source" and not tested:
        cells["source"] = "transductive"
    return {
        "name": name,
        "kind": kind,
        "learn_from": learn_from,
        "cell": cells.get(learn_from, "multi-task and transductive"),
        "counts": {"source_train": 800, "source_test": 200, "target_train": tested, "target_test": tested},
        "problem": "it has one class only, 'x'" if learn_from == "nothing" else None,
        "explain": f"'{name}' is learnt from 800 images; label some of the target's to score it.",
    }


def make_comparison(
    kind: str = "self-taught",
    label: str | None = "digit",
    outcome: str = "helped",
    label_kind: str = "multiclass",
    *,
    seeds: int = 1,
    constant: float = 0.1,
    level: float = 0.8,
    not_beaten: tuple[str, ...] | None = None,
    **changed: Any,
) -> dict[str, Any]:
    """Return a comparison whose method scores ``level``, on the side of its baselines that ``outcome`` tells.

    With "unclear" the baselines of ``not_beaten`` (by default the reference) score as much, the others less.
    """
    metric, higher = ("ari", True) if kind == "unsupervised" else METRICS[label_kind]
    method, names = BASELINES[kind]
    not_beaten = not_beaten if not_beaten is not None else {"helped": ()}.get(outcome, names[:1])
    baselines = []
    for name in names:
        gain, reach = (0.001, 0.02) if name in not_beaten else (0.1, 0.04)
        if outcome == "harmed" and name == names[0]:
            gain, reach = -0.1, 0.04
        value = level - gain if higher else level + gain
        if name == "constant" and name not in not_beaten:
            value = constant
            gain = (level - value) * (1 if higher else -1)
        baselines.append(
            {"name": name, "value": value, "gain": gain, "low": gain - reach, "high": gain + reach, "p": 0.5}
        )
    measured = outcome != "not_measurable"
    return {
        "kind": kind,
        "label": label,
        "method": method,
        "metric": metric,
        "higher_is_better": higher,
        "value": level if measured else None,
        "low": level - 0.02 if measured else None,
        "high": level + 0.02 if measured else None,
        "baselines": baselines if measured else [],
        "outcome": outcome,
        "not_beaten": list(not_beaten) if measured else [],
        "reason": None if measured else "no_target_test_labels",
        "num_images": 200 if measured else 0,
        "num_groups": 200 if measured else 0,
        "num_seeds": seeds if measured else 0,
        "num_draws": 10 if kind == "self-taught" and measured else 1,
        "left_out_classes": 0,
        "labels_per_class": 5 if kind == "self-taught" and measured else None,
        "short": False,
        "details": {},
        **changed,
    }


def make_worth(
    label: str = "digit", answer: str | None = "worth", label_kind: str = "multiclass", **changed: Any
) -> dict[str, Any]:
    """Return what is said of pretraining for a label: by its answer it is ahead of ``pixels``, behind, or neither."""
    metric, higher = METRICS[label_kind]
    nothing = {"metric": metric, "higher_is_better": higher, "self_taught": False, "reason": None, "declared": None}
    found = {"label": label, "answer": answer, **nothing, "labels": [], "amounts": [], "short": [], "rows": []}
    if answer is None:
        return {**found, "reason": "no_target_test_labels", **changed}
    gain = {"worth": 0.1, "not_worth": -0.1, "unclear": 0.01}[answer]
    sign = 1 if higher else -1
    gains = {"pixels": 0.0, "start": -0.1, "pretrained": gain, "supervised": 0.2, "constant": -0.5}
    levels = {name: 0.6 + sign * over for name, over in gains.items()}
    for name, level in levels.items():
        role = {"pretrained": "method", "supervised": "built_on"}.get(name, "alternative")
        over = gain - gains[name]
        claim = {"worth": "better", "not_worth": "worse", "unclear": None}[answer] if name == "pixels" else "better"
        asked = name not in ("pretrained", "constant")
        gained = {"gain": over, "low": over - 0.02, "high": over + 0.02}
        found["rows"].append(
            {
                "name": name,
                "role": role,
                "claim": claim if role == "alternative" else None,
                "scores": [
                    {"labels": labels, "value": level, "low": level - 0.05, "high": level + 0.05} for labels in (10, 50)
                ],
                **(gained if role != "method" else dict.fromkeys(gained)),
                "needed": [
                    {"labels": labels, "value": value, "interval": [10.0, None]}
                    for labels, value in ((10, 31.4), (50, None))
                    if asked
                ],
            }
        )
    return {**found, "declared": 10, "labels": [10, 50], "amounts": [1, 5], "short": [False, True], **changed}


def make_evaluation(
    comparisons: list[dict[str, Any]] | None = None,
    tasks: list[dict[str, Any]] | None = None,
    primary: str | None = "digit",
    *,
    classes: tuple[str, ...] = ("cat", "dog"),
    seeds: int = 1,
    scored: bool = True,
    **changed: Any,
) -> dict[str, Any]:
    """Return the content of evaluation.json; without ``comparisons``, one of each kind that helped."""
    tasks = [make_task()] if tasks is None else tasks
    if comparisons is None:
        comparisons = [make_comparison(kind, seeds=seeds) for kind in BASELINES]
    score = 0.8 if scored else None
    spread = {"low": 0.75, "high": 0.85} if scored else {"low": None, "high": None}
    return {
        "seeds": list(range(seeds)),
        "primary": primary,
        "classes": list(classes),
        "num_images": {"source": 1000, "target": 400},
        "datasets": {"source": ["mnist"], "target": ["digits"]},
        "shared": 0,
        "same_files": 0,
        "tasks": tasks,
        "use": "shot_im",
        "adaptation": {"label": primary, "metric": None, "candidates": [], "choices": []},
        "strategies": [{"chosen": "all", "reason": "declared", "losses": {"all": {"digit": 0.1}}}],
        "representations": [{"name": name, "dim": 8, "what": f"what {name} is"} for name in REPRESENTATIONS],
        "comparisons": comparisons,
        "delta_m": None,
        "affinity": [
            {"of": of["name"], "to": to["name"], "value": 0.002, "low": 0.001, "high": 0.003}
            for of in tasks
            for to in tasks
        ],
        "scores": [
            make_score(domain, model, task["name"], task["kind"])
            for task in tasks
            for domain, models in (("source", ("multi_task", "single_task")), ("target", ("source_only", "shot_im")))
            for model in models
            if scored
        ],
        "reliability": [make_reliability(model) for model in ("source_only", "shot_im") if scored and primary],
        "worth": [make_worth(task["name"], label_kind=task["kind"]) for task in tasks if scored],
        "probes": [
            {"representation": name, "label": primary, "labels_per_class": amount, "metric": "balanced_accuracy",
             "value": 0.7 + amount / 100, **spread, "std": 0.01, "repeats": 3, "constant": 0.1, "short": amount > 1}
            for name in REPRESENTATIONS
            for amount in (1, 5)
            if scored and primary
        ],
        "clusterings": [
            {"representation": name, "space": "umap", "clusterer": "kmeans", "ari": score, "ari_low": spread["low"],
             "ari_high": spread["high"], "ami": score, "accuracy": score, "largest_class": 0.11 if scored else None,
             "silhouette": 0.2, "num_clusters": 2.0, "noise": 0.0, "restarts": 3}
            for name in REPRESENTATIONS
        ],
        "projections": [
            {"representation": name, "method": method, "trustworthiness": 0.9, "continuity": 0.8}
            for name in REPRESENTATIONS
            for method in ("pca", "umap")
        ],
        "shift": [{"representation": name, "domain_auc": 0.9, "proxy_a_distance": 1.2} for name in REPRESENTATIONS],
        **changed,
    }  # fmt: skip


def make_reliability(model: str, error: float = 0.02, trainings: int = 1) -> dict[str, Any]:
    """Return what is said of a model that is half sure of 100 answers and quite sure of the others."""
    empty = {"confidence": None, "accuracy": None, "num_answers": 0, "low": None, "high": None}
    bins = [dict(empty) for _ in range(10)]
    bins[4] = {"confidence": 0.45, "accuracy": 0.4, "num_answers": 100, "low": 0.35, "high": 0.55}
    bins[9] = {"confidence": 0.98, "accuracy": 0.99, "num_answers": 1300, "low": 0.97, "high": 0.99}
    return {
        "model": model,
        "num_images": 1400 // trainings,
        "num_trainings": trainings,
        "confidence": 0.942,
        "accuracy": 0.948,
        "calibration_error": error,
        "error_by_chance": {"mean": 0.01, "high": 0.03},
        "bins": bins,
    }


def make_score(domain: str, model: str, label: str, label_kind: str, value: float = 0.8) -> dict[str, Any]:
    metric, higher = METRICS[label_kind]
    return {
        "domain": domain,
        "model": model,
        "label": label,
        "kind": label_kind,
        "metric": metric,
        "main": True,
        "higher_is_better": higher,
        "value": value,
        "low": value - 0.05,
        "high": value + 0.05,
        "constant": 0.1 if higher else 1.2,
    }
