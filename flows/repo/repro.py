"""``dvc repro`` whose last line is a sentence: ``python -m flows.repo.repro``, with the arguments of ``dvc repro``.

Exit code 0 done, 2 a user's mistake, 1 a crash, 130 after Ctrl-C. What the stages print goes straight to the terminal.
"""

import logging
import os
import re
import signal
import sys
from pathlib import Path

from dvc.cli import main as dvc
from dvc.repo import Repo

from flows.repo.access import told_by_dvc
from flows.repo.heal import heal
from flows.repo.inputs import refuse_odd
from flows.repo.lockfile import forget, record_of, remember
from flows.repo.restore import restore
from flows.repo.run import USER_MISTAKE, StageResult, clear_checkpoints, failure_of
from pipeline_lib.core.errors import UserError
from tasks.declaration import read_dvc_file
from tasks.stage import KEEP, guarded
from tasks.yaml_files import PARAMS_FILE, read_yaml

_FAILED = re.compile(r"failed to reproduce '(.+?)'")
_INTERRUPTED = 252  # DVC's exit code after Ctrl-C


class _Kept(logging.Filter):
    """Keeps what DVC would print of its failure, of which a sentence is made."""

    def __init__(self) -> None:
        super().__init__()
        self.said = ""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR:
            return True
        texts, error = [record.getMessage()], record.exc_info[1] if record.exc_info else None
        while error is not None:
            texts.append(str(error))
            error = error.__cause__
        self.said = f"ERROR: {': '.join(' '.join(text.split()) for text in texts if text)}"
        return False


def main(*stages: str) -> None:
    """Bring every stage up to date, or ``stages``, or those that the arguments name."""
    for sentence in heal():
        print(sentence, file=sys.stderr)
    read_dvc_file()  # says better than DVC what is wrong with it
    read_yaml(PARAMS_FILE)
    with told_by_dvc("could not run the pipeline"), Repo() as repo:
        refuse_odd(repo.index.stages)
        files = [Path(record_of(stage)) for stage in repo.index.stages if record_of(stage)]
    remember(files)
    os.environ[KEEP] = "1"  # a stage that ended, and whose outputs DVC then could not record, goes on from there
    kept = _Kept()
    for handler in logging.getLogger("dvc").handlers:
        handler.addFilter(kept)
    code = dvc(["--wait-for-lock", "repro", *(stages or sys.argv[1:])])
    sys.stdout.flush()
    if code == 0:
        clear_checkpoints(Path())
        forget(files)
    elif code == _INTERRUPTED:
        raise SystemExit(128 + signal.SIGINT)
    elif not (found := _FAILED.search(kept.said)):
        raise UserError(f"DVC could not run the pipeline: {kept.said.removeprefix('ERROR: ')}")
    else:
        restore(found[1])
        _end(failure_of(found[1], [kept.said], code, 0, Path.cwd()))


def _end(result: StageResult) -> None:
    if result.exit_code == USER_MISTAKE:  # the stage has said so itself
        raise SystemExit(USER_MISTAKE)
    if result.exit_code in (-signal.SIGINT, 128 + signal.SIGINT):
        raise SystemExit(128 + signal.SIGINT)
    if result.failure == "mistake":
        raise UserError(result.error)
    raise SystemExit(f"error: {result.error}")


if __name__ == "__main__":
    guarded(main)
