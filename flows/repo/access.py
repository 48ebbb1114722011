"""DVC's repository, opened in this process: a program that holds DVC's lock is waited for, as DVC's commands do it."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.lock import LockError
from dvc.repo import Repo, lock_repo

from pipeline_lib.core.errors import UserError
from tasks.foreign import translated

MOST_SECONDS = 1800.0
TMP = Path(".dvc/tmp")


@contextmanager
def locked_repo(folder: str | Path = ".", config: Mapping[str, Any] | None = None) -> Iterator[Repo]:
    """Yield the repository in ``folder``, whose lock is held meanwhile; ``config`` is added to its settings."""
    with Repo(str(folder), config=config) as repo, waited_for(lambda: lock_repo(repo), Path(folder) / TMP / "lock"):
        yield repo


@contextmanager
def waited_for(lock: Callable[[], AbstractContextManager[Any]], file: Path) -> Iterator[None]:
    """Hold a lock of DVC, which is in ``file``: an editor that looks at the project has it for seconds at a time.

    A line says what is waited for. Raises UserError after half an hour.
    """
    began, told = time.monotonic(), False
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(lock())  # tries for 3 s
                break
            except LockError:
                if time.monotonic() - began > MOST_SECONDS:
                    raise UserError(f"{_holder(file)} has not let go of DVC's lock: end it, then run again") from None
                if not told:
                    print(f"waiting for DVC's lock, which {_holder(file)} has", file=sys.stderr, flush=True)
                    told = True
        yield


@contextmanager
def told_by_dvc(undone: str) -> Iterator[None]:
    """Turn what DVC raises into a UserError that says what it could not do, such as "cannot plan the run"."""
    try:
        yield
    except NotDvcRepoError:
        raise UserError(
            "this folder is not a DVC repository: run from the root of the project, or 'dvc init'"
        ) from None
    # ImportError: of a storage such as s3, for which DVC wants a package of its own
    except (DvcException, OSError, ValueError, ImportError) as error:
        said = UserError(f"DVC {undone}: {' '.join(str(error).split())}")
        raise (translated(error) if isinstance(error, OSError) else None) or said from None


def _holder(file: Path) -> str:
    """Name the process that has a lock: its number is in the file."""
    with suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int(file.read_text(encoding="utf-8")))
        return f"process {process.pid} ('{' '.join(process.cmdline())[:100]}')"
    return f"another program ({file})"
