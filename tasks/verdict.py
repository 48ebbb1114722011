"""Print where the report is and its verdict: the headline, and a line for each kind of transfer."""

import argparse
import json
import shutil
import sys
import textwrap
from functools import partial
from pathlib import Path

from pipeline_lib.core.errors import UserError

PAGE = Path("reports/report.html")
SUMMARY = Path("reports/verdict.json")
MAX_WIDTH = 100  # characters; longer lines are hard to read


def verdict(width: int) -> str:
    """Return the text, wrapped to ``width`` characters.

    Raises UserError where the pipeline has not run to its end, and for a file that is cut short.
    """
    for path in (SUMMARY, PAGE):
        if not path.is_file():
            raise UserError(f"{path} is missing: run the whole pipeline first, with 'make run' or 'dvc repro'")
    try:
        headline, *lines = json.loads(SUMMARY.read_text(encoding="utf-8"))["lines"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{SUMMARY} is damaged: 'dvc repro report' writes it again") from None
    wrap = partial(textwrap.fill, width=width, break_on_hyphens=False, break_long_words=False)
    wrapped = [wrap(headline), *(wrap(line, initial_indent="- ", subsequent_indent="  ") for line in lines)]
    return "\n".join(["", *wrapped, "", f"The whole report: {PAGE.resolve().as_uri()}"])


def main() -> None:
    """Print the verdict as wide as the terminal."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(verdict(min(MAX_WIDTH, shutil.get_terminal_size().columns)))


if __name__ == "__main__":
    # Not tasks.stage.guarded: its imports would take longer than all of this.
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
