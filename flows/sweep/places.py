"""Places to run a stage of a combination in: a few worktrees that stages take in turn, however many combinations are.

There are as many as stages run at a time in this clone.
"""

import fcntl
import itertools
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dvc.utils.serialize import load_yaml

from flows.machine.lock import hold
from flows.repo.heal import heal
from flows.repo.worktree import FOLDER, remove, worktree
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import say
from tasks.stage import CHECKPOINTS
from tasks.yaml_files import PARAMS_FILE

PLACES = FOLDER / "sweeps"
# What stays when the results of another combination go: DVC's own files, checkpoints and locks.
KEPT = ("/.dvc/", "/.graftline/")

_ready: set[tuple[str, str]] = set()  # the places that this process has brought to a commit


@contextmanager
def place(commit: str, params: str) -> Iterator[Path]:
    """Hold a worktree of ``commit`` with ``params`` as its params.yaml, and nothing else that is not committed.

    What stages have made comes back from DVC's cache. Checkpoints are those of this clone: a stage that was stopped
    goes on in any place.
    """
    with ExitStack() as held:
        for number in itertools.count():
            with suppress(UserError):
                held.enter_context(hold(PLACES / f"{number}.lock", "taken"))
                break
        folder = (PLACES / str(number)).resolve()
        if (str(folder), commit) not in _ready or _git(folder, "rev-parse", "HEAD").strip() != commit:
            _make(number, commit)
            _ready.add((str(folder), commit))
        _git(folder, "checkout", "--quiet", "--force", "--", ".")
        _git(folder, "clean", "-ffdxq", *(f"--exclude={path}" for path in (*KEPT, *_added(folder))))
        for sentence in heal(folder):
            say(sentence)
        (folder / PARAMS_FILE).write_text(params, encoding="utf-8")
        yield folder


def clear_places() -> None:
    """Remove the worktrees that nobody is at work in."""
    for folder in sorted(PLACES.glob("*/")):
        with suppress(UserError), hold(PLACES / f"{folder.name}.lock", "taken"):
            remove(f"sweeps/{folder.name}")
    _ready.clear()


def _make(number: int, commit: str) -> None:
    PLACES.mkdir(parents=True, exist_ok=True)
    with (PLACES / "making.lock").open("w") as one:  # git and DVC fail where two of them change one repository
        fcntl.flock(one, fcntl.LOCK_EX)
        folder = worktree(f"sweeps/{number}", commit)
    shared, own = CHECKPOINTS.resolve(), folder / CHECKPOINTS
    shared.mkdir(parents=True, exist_ok=True)
    if not own.is_symlink():
        shutil.rmtree(own, ignore_errors=True)
        own.symlink_to(shared, target_is_directory=True)


def _added(folder: Path) -> Iterator[str]:
    """Yield the data that was added to DVC, which belongs to the commit."""
    for file in filter(None, _git(folder, "ls-files", "-z", "--", "*.dvc").split("\0")):
        for out in load_yaml(str(folder / file)).get("outs", []):
            yield f"/{(Path(file).parent / out['path']).as_posix()}"


def _git(folder: Path, *arguments: str) -> str:
    ended = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise UserError(f"git cannot bring the worktree {folder} to the sweep's commit: {ended.stderr.strip()}")
    return ended.stdout
