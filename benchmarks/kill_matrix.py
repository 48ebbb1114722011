"""Kill a run of the flow in every way and at every moment, run it again, and see whether anything was lost.

    python -m benchmarks.kill_matrix [--quick] [--out benchmarks/results/kill_matrix.json]

A signal (SIGINT, SIGTERM, SIGKILL) goes to the flow, to DVC or to the stage; when the stage has just started, in its
middle after a checkpoint, and while its output is written or DVC records it. Then a run is cancelled, Prefect's server
is killed or restarted in the middle of a run, and the disk is full; a nightly run is killed in its worktree, and a
sweep of two combinations in the middle of a stage. Some are killed in a project with data that `dvc add` tracks and
stages of foreach and matrix. After each case the flow is run again, as a user would do. A case is

- an orphan, if a process of the killed run is left;
- lost, if the second run needs a hand, fails, starts over where there was a checkpoint, or half an output took
  the place of a whole one;
- unequal, if the outputs or dvc.lock are in the end not those of an undisturbed ``dvc repro``, byte for byte;
- untrue, if the server does not know of the killed run that it ended.

``--quick`` takes a few of the cases. The last line counts them; the table has a row for each.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.kill_cases import (
    cancelled,
    full_disk,
    long,
    nightly,
    server_lost,
    server_unknown,
    signalled,
    sweep,
    zombie,
)
from benchmarks.kill_project import GROWN, PLAIN, Project, Server, make_template
from benchmarks.machine import machine
from pipeline_lib.core.files import write_json
from pipeline_lib.core.progress import say

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
TARGETS = ("flow", "dvc", "stage")
MOMENTS = ("started", "middle", "saving")
FAULTS = ("orphans", "lost", "unequal", "untrue")
QUICK = {
    "SIGKILL to flow, middle",
    "SIGINT to flow, middle",
    "SIGTERM to flow, saving",
    "SIGKILL to dvc, started",
    "SIGTERM to stage, saving",
    "the disk is full, stage",
    "SIGKILL to flow, middle, with data, foreach and matrix",
    "a nightly run is killed, and its record cut short",
}

GROWN_NAME = "with data, foreach and matrix"
Case = Callable[[Project, Server], dict[str, Any]]


def cases() -> dict[str, Case]:
    """Return every case by its name."""
    found: dict[str, Case] = {}
    for number, target, moment in product(SIGNALS, TARGETS, MOMENTS):
        found[f"{number.name} to {target}, {moment}"] = partial(signalled, number=number, target=target, moment=moment)
    for target, moment in product(TARGETS, ("middle", "saving")):
        case = partial(signalled, number=signal.SIGKILL, target=target, moment=moment)
        found[f"SIGKILL to {target}, {moment}, {GROWN_NAME}"] = case
    found["a nightly run is killed, and its record cut short"] = nightly
    found["cancelled by prefect flow-run cancel"] = cancelled
    for number in SIGNALS:
        found[f"{number.name} to a sweep, middle"] = partial(sweep, number=number)
    found["a killed run is shown as Crashed by itself"] = zombie
    found["a run of minutes is not"] = long
    found["the server is killed, middle"] = partial(server_lost, restart=False)
    found["the server is restarted, middle"] = partial(server_lost, restart=True)
    found["PREFECT_API_URL leads nowhere"] = server_unknown
    found["the disk is full, stage"] = partial(full_disk, megabytes=20)
    found["the disk is full, dvc"] = partial(full_disk, megabytes=48)
    return found


def run_case(name: str, case: Case, template: Path, server: Server) -> dict[str, Any]:
    """Run one case in a project of its own, and the flow once more; return the row of the table."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, ExitStack() as stack:
        project = Project(Path(folder) / "project", template, stack)
        try:
            row = {"case": name, **case(project, server)}
            if "skipped" in row:
                return row
            row |= project.judge(server, row)
        except (AssertionError, TimeoutError) as error:
            row = {"case": name, "error": str(error)[-3000:], **dict.fromkeys(FAULTS, True)}
    row.pop("expected", None)
    return {**row, "seconds": round(time.monotonic() - began, 1)}


def measure(names: list[str]) -> Iterator[dict[str, Any]]:
    """Yield a row for each of the cases ``names``."""
    # A program that a shell starts in the background ignores SIGINT, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    every = cases()
    with tempfile.TemporaryDirectory() as folder:
        templates = {grown: Path(folder) / ("grown" if grown else "plain") for grown in (False, True)}
        for grown in {GROWN_NAME in name for name in names}:
            make_template(templates[grown], GROWN if grown else PLAIN)
        server = Server(Path(folder) / "server")
        try:
            for name in names:
                row = run_case(name, every[name], templates[GROWN_NAME in name], server)
                say(json.dumps(row))
                yield row
        finally:
            server.kill()


def summary(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Count the cases, and those of each fault."""
    done = [row for row in rows if "skipped" not in row]
    faults = {fault: sum(bool(row[fault]) for row in done) for fault in FAULTS}
    return {"cases": len(done), **faults, "skipped": len(rows) - len(done)}


def main() -> None:
    """Measure, print the line, and exit with 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few of the cases")
    parser.add_argument("--only", help="the cases whose names contain this text")
    parser.add_argument("--out", type=Path, help="the file to write the table to")
    arguments = parser.parse_args()
    names = [name for name in cases() if not arguments.quick or name in QUICK]
    names = [name for name in names if (arguments.only or "") in name]
    rows = list(measure(names))
    counts = summary(rows)
    if arguments.out:
        write_json(arguments.out, {**counts, "rows": rows, "machine": machine()})
    print(json.dumps(counts))
    sys.exit(any(counts[fault] for fault in FAULTS))


if __name__ == "__main__":
    main()
