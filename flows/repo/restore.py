"""Bring back the last good outputs of a stage that failed: DVC removes them before it runs a command.

``python -m flows.repo.restore ADDRESS`` is how a stage does it in its end, without importing DVC.
"""

import sys
from typing import Any

from dvc.exceptions import DvcException

from flows.repo.access import locked_repo

# Links take no room on a disk that is full.
WAYS: tuple[dict[str, Any], ...] = ({}, {"cache": {"type": "reflink,hardlink,symlink"}})


def restore(address: str) -> None:
    """Bring back those outputs of a stage that are missing and that DVC has in its cache."""
    for config in WAYS:
        with locked_repo(config=config) as repo:
            try:
                outs = [str(out) for stage in repo.stage.collect(address) for out in stage.outs if not out.exists]
                if outs:
                    repo.checkout(targets=outs, force=True)
                return
            except DvcException:
                continue


if __name__ == "__main__":
    restore(sys.argv[1])
