"""What was selected, in sentences."""

from collections.abc import Mapping

from pipeline_lib.select import BLIND
from pipeline_lib.select.distinct import ALWAYS

LEFT_OUT = {
    ALWAYS: "{} of a group, or the very bytes, of the target's test split",
    "leaks": "{} nearly or exactly in the target's test split",
    "duplicates": "{} equal to another",
    "near_duplicates": "{} nearly equal to another",
    "label_errors": "{} whose label looks wrong",
}


def sentences(method: str, features: str, metrics: Mapping[str, float]) -> list[str]:
    """Say what became of the source, given the numbers of metrics/select.json."""
    kept, effective = int(metrics["num_selected"]), metrics["effective_sample_size"]
    worth = f", worth {effective:.0f} equal ones" if metrics["effective_sample_size_share"] < 0.995 else ""
    by = "" if method in BLIND else f" by {features}"
    said = [f"{kept} of {int(metrics['num_source'])} source images selected by '{method}'{by}{worth}"]
    counts = {name: metrics.get(f"left_out.{name}") for name in LEFT_OUT}
    gone = [
        LEFT_OUT[name].format(int(count)) for name, count in counts.items() if count or (count == 0 and name != ALWAYS)
    ]
    if gone:
        said.append(f"left out before: {'; '.join(gone)}")
    shares = {name.removeprefix("share."): share for name, share in metrics.items() if name.startswith("share.")}
    if len(shares) > 1:
        said.append(f"by dataset: {', '.join(f'{name} {share:.0%}' for name, share in shares.items())}")
    if "domain_auc" in metrics:
        said.append(
            f"source and target are told apart with an area under the curve of {metrics['domain_auc']:.3f} "
            "(0.5: not at all, 1: always)"
        )
    return said
