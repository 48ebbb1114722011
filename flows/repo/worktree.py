"""Git worktrees with this repository's DVC cache: runs of what is committed, which nobody's edits disturb.

``python -m flows.repo.worktree NAME [COMMIT]`` brings one to a commit and prints where it is.
"""

import argparse
import re
import subprocess
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from flows.machine.lock import hold
from pipeline_lib.core.errors import UserError
from tasks.stage import guarded

FOLDER = Path(".graftline/worktrees")
FLOW_LOCK = ".graftline/flow.lock"
# As it is linked, a file is there at once and takes no room, however large.
LINKS = "reflink,hardlink,copy"


def worktree(name: str, commit: str = "HEAD") -> Path:
    """Bring the worktree ``name`` to ``commit``, with the data that it tracks, and return its absolute path.

    What earlier runs left in it stays, so that DVC finds what is up to date. Raises UserError where there is no git
    repository, no DVC repository, no such commit, or where another run is at work in the worktree.
    """
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", name) or ".." in name:
        raise UserError(f"'{name}' cannot be the name of a worktree: take letters, digits, dots, dashes and slashes")
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    if found is None:
        if _git("rev-parse", "--git-dir") is None:
            raise UserError("this folder is not a git repository: run from a clone, or 'git init' and commit")
        raise UserError(f"git knows no commit '{commit}': commit something, or name another")
    if not Path(".dvc").is_dir():
        raise UserError("this folder is not the root of a DVC repository: run from there, or 'dvc init'")
    path = (FOLDER / name).resolve()
    if not path.exists():
        _run("worktree", "prune")
        _run("worktree", "add", "--quiet", "--detach", str(path), found)
    busy = f"another run is at work in the worktree {path}: wait until it ends, or cancel it"
    with hold(path / FLOW_LOCK, busy):
        _run("-C", str(path), "checkout", "--quiet", "--force", "--detach", found)
        _configure(path)
        _check_out_data(path)
    return path


def _configure(path: Path) -> None:
    """Let DVC in the worktree use the cache and the remotes of this repository."""
    with Repo() as main, Repo(str(path)) as copy, copy.config.edit("local") as local:
        local["cache"] = {"dir": str(main.cache.local_cache_dir), "type": LINKS}
        # With absolute paths: those in .dvc/config are relative to where it is.
        local["remote"] = {name: dict(settings) for name, settings in main.config["remote"].items()}
        if default := main.config["core"].get("remote"):
            local["core"] = {"remote": default}


def _check_out_data(path: Path) -> None:
    """Bring the data that was added to DVC, other than what stages make, into the worktree from the cache."""
    with Repo(str(path)) as repo:
        added = [stage.addressing for stage in repo.index.stages if stage.is_data_source]
        try:
            if added:
                repo.checkout(targets=added, force=True, allow_missing=True)
        except DvcException as error:
            raise UserError(f"DVC cannot bring the data into {path}: {' '.join(str(error).split())}") from None


def _git(*arguments: str) -> str | None:
    """Return what git says, or None where it fails."""
    ended = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return ended.stdout.strip() if ended.returncode == 0 else None


def _run(*arguments: str) -> None:
    ended = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise UserError(f"git cannot make the worktree: {' '.join(ended.stderr.split())}")


def main() -> None:
    """Bring a worktree to a commit, and print where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the worktree")
    parser.add_argument("commit", nargs="?", default="HEAD", help="what to run (default: HEAD)")
    given = parser.parse_args()
    print(worktree(given.name, given.commit))


if __name__ == "__main__":
    guarded(main)
