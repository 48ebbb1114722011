"""Run many stages at once, round after round, and count what failed and what DVC did not record.

``python -m benchmarks.parallel_stages --stages 16 --rounds 2`` runs the flow in a project of made-up stages, none of
which needs another, against one Prefect server; the seed changes in every round, so all of them run. It ends
with one line of JSON: `failed` are stages that did not end Completed, and `lost` are those whose entry in dvc.lock is
missing or is not of what they left, each summed over the rounds. ``--save`` writes results/parallel_stages.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.graphs import (
    ask,
    dvc,
    flow_environment,
    last_run,
    lost_entries,
    make_project,
    parallel,
    server,
    set_seed,
)
from benchmarks.machine import machine
from benchmarks.scratch import ROOT
from pipeline_lib.core.files import write_json
from pipeline_lib.core.progress import say

RESULT_FILE = ROOT / "benchmarks/results/parallel_stages.json"
# Prefect's server learns of the end of a stage a moment after the flow does.
TOLD_SECONDS = 120


def main() -> None:
    """Measure, print the line, and exit with 1 if a stage failed or was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", type=int, default=16, help="how many stages at once")
    parser.add_argument("--rounds", type=int, default=20, help="how often")
    parser.add_argument("--save", action="store_true", help=f"write {RESULT_FILE.relative_to(ROOT)}")
    chosen = parser.parse_args()
    failed, lost, seconds = 0, 0, []
    with tempfile.TemporaryDirectory() as temporary, server(Path(temporary) / "prefect") as url:
        project = make_project(Path(temporary) / "project", parallel(chosen.stages))
        for number in range(1, chosen.rounds + 1):
            set_seed(project, number)
            began = time.monotonic()
            unfinished = _run(project, url)
            seconds.append(time.monotonic() - began)
            # What DVC itself finds out of date, and what it would not: an entry that is there by chance.
            missing = {*lost_entries(project), *json.loads(dvc(project, "status", "--json"))}
            failed, lost = failed + len(unfinished), lost + len(missing)
            say(f"round {number}: {seconds[-1]:.1f} s, {len(unfinished)} failed, {len(missing)} lost")
            for name in sorted({*unfinished, *missing}):
                say(f"  {name}: {unfinished.get(name, 'Completed')}{', lost' if name in missing else ''}")
    result = {"failed": failed, "lost": lost, "stages": chosen.stages, "rounds": chosen.rounds}
    result["seconds_a_round"] = round(sorted(seconds)[len(seconds) // 2], 2)
    if chosen.save:
        write_json(RESULT_FILE, {**result, "machine": machine()})
    print(json.dumps(result))
    raise SystemExit(bool(failed or lost))


def _run(project: Path, url: str) -> dict[str, str]:
    """Run the flow once and return the states of the stages that did not end Completed."""
    command = [sys.executable, "-m", "flows.pipeline"]
    environment = flow_environment(project, url)
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        say(done.stdout + done.stderr)
    names = dvc(project, "stage", "list", "--name-only").split()
    deadline = time.monotonic() + TOLD_SECONDS
    while (unfinished := not_completed(names, _task_runs(url))) and time.monotonic() < deadline:
        time.sleep(0.2)
    return unfinished


def not_completed(names: Iterable[str], states: dict[str, str]) -> dict[str, str]:
    """Return the state of each of ``names`` that is not Completed; "never ran" for one that has none."""
    return {name: states.get(name, "never ran") for name in names if states.get(name) != "Completed"}


def _task_runs(url: str) -> dict[str, str]:
    """Return the states of the stages in the last run by their names."""
    chosen = {"flow_runs": {"id": {"any_": [last_run(url)["id"]]}}, "limit": 200}
    return {task["name"]: task["state_name"] for task in ask(f"{url}/task_runs/filter", chosen)}


if __name__ == "__main__":
    main()
