"""Rank source datasets and encoders for the target: only what the ranking needs is run, and nothing is trained."""

from pathlib import Path

from flows.repo import repro
from pipeline_lib.core.files import read_json
from tasks import check

RANKING = Path("reports/rank.json")


def main() -> None:
    """Check the settings, bring the ranking up to date, and print what it says."""
    check.main()
    repro.main("rank")
    print("", *read_json(RANKING)["lines"], "", f"All of it: {RANKING}", sep="\n")
