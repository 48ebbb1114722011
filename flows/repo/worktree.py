"""Git worktrees with this repository's DVC cache: runs of what is committed, which nobody's edits disturb.

``python -m flows.repo.worktree NAME [COMMIT] [--branch NAME]`` brings one to a commit and prints where it is.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from flows.machine.lock import hold
from flows.repo.access import locked_repo
from flows.repo.heal import heal, working
from pipeline_lib.core.errors import UserError
from tasks.stage import guarded

FOLDER = Path(".graftline/worktrees")
FLOW_LOCK = ".graftline/flow.lock"
# As it is linked, a file is there at once and takes no room, however large.
LINKS = "reflink,hardlink,copy"
BUSY = "another run is at work in the worktree {}: wait until it ends, or cancel it"


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
    if not (path / ".git").exists():  # git would take the clone that it is in for it
        _run("worktree", "prune")
        _run("worktree", "add", "--quiet", "--detach", str(path), found)
    with hold(path / FLOW_LOCK, BUSY.format(path)):
        for sentence in heal(path):
            _tell(f"in {path}: {sentence}")
        _run("-C", str(path), "checkout", "--quiet", "--force", "--detach", found)
        _configure(path)
        _check_out_data(path)
    return path


def remove(name: str) -> None:
    """Remove the worktree ``name`` with all that is in it; UserError if a run is at work there."""
    path = (FOLDER / name).resolve()
    if path.exists():
        with hold(path / FLOW_LOCK, BUSY.format(path)):
            heal(path)
            if working(path):
                raise UserError(BUSY.format(path))
            _run("worktree", "remove", "--force", str(path))
    _run("worktree", "prune")


def fetched(branch: str) -> str:
    """Return ``branch`` as its remote has it now, or had it last if it cannot be reached; as it is here without one."""
    here = f"refs/heads/{branch}"
    remote = _git("config", f"branch.{branch}.remote") or next(iter((_git("remote") or "").split()), "")
    if remote in ("", "."):
        return here
    there = f"refs/remotes/{remote}/{branch}"
    # Nobody is there to type a password.
    ended = subprocess.run(
        ["git", "fetch", "--quiet", remote, f"+{here}:{there}"],
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        _tell(
            f"'{branch}' could not be fetched from '{remote}', so what is known of it here runs: {_line(ended.stderr)}"
        )
    return there if _git("rev-parse", "--verify", "--quiet", there) else here


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
    with locked_repo(path) as repo:
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
        raise UserError(f"git cannot make or remove the worktree: {_line(ended.stderr)}")


def _line(text: str) -> str:
    return " ".join(text.split())


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)  # standard output is the path alone


def main() -> None:
    """Bring a worktree to a commit, and print where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the worktree")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("commit", nargs="?", default="HEAD", help="what to run (default: HEAD)")
    what.add_argument("--branch", help="run the last commit of this branch, fetched from its remote")
    given = parser.parse_args()
    print(worktree(given.name, fetched(given.branch) if given.branch else given.commit))


if __name__ == "__main__":
    guarded(main)
