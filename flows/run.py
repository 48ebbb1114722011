"""Run what is out of date of the pipeline by DVC alone, and print its verdict."""

from flows.repo import repro
from tasks import check, verdict


def main() -> None:
    """Check the settings, bring every stage up to date, and say what came of it."""
    check.main()
    repro.main()
    verdict.main()
