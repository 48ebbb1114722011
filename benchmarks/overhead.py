"""Measure what the flow costs beside plain `dvc repro`, when there is all to do and when there is nothing.

``python -m benchmarks.overhead`` runs the whole pipeline in fresh copies, in turns: by `dvc repro` (`dvc_repro_s`), by
the flow with a Prefect server that is up (`flow_s`), and by the flow that starts one for the run
(`flow_with_server_s`; the server's database is there already). Then it takes the time of a flow with nothing to do
and a server that is up, for the whole process (`flow_noop_s`) and within the flow (`flow_noop_inside_s`), and that of
`python -m flows.repo.plan` with 200 made-up stages (`plan_200_s`, the slowest of new, finished and changed). All are
medians, in seconds. It ends with them as one line of JSON, and with exit code 1 if the flow did not leave the dvc.lock
of `dvc repro`. ``--save`` writes results/overhead.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from benchmarks.graphs import dvc, finish, flow_environment, last_run, layered, make_project, server, set_seed
from benchmarks.machine import machine
from benchmarks.scratch import ROOT, copy_project, environment
from pipeline_lib.core.files import write_json
from pipeline_lib.core.progress import say

RESULT_FILE = ROOT / "benchmarks/results/overhead.json"
# In seconds: by how much the flow may be slower than `dvc repro`, and what the others may take.
AIMS = {"more_s": 5.0, "more_with_server_s": 15.0, "flow_noop_s": 3.0, "plan_200_s": 5.0}


def main() -> None:
    """Measure, print the line, and exit with 1 if the flow and DVC left different records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml", help="the setting of the pipeline")
    parser.add_argument("--rounds", type=int, default=1, help="how often the whole pipeline runs in each way")
    parser.add_argument("--repeats", type=int, default=5, help="how often the flow has nothing to do, and plans")
    parser.add_argument("--save", action="store_true", help=f"write {RESULT_FILE.relative_to(ROOT)}")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        spans, equal, finished = run_pipelines(folder, chosen.params, chosen.rounds)
        spans |= idle(finished, folder / "prefect", chosen.repeats)
        plans = time_plans(folder / "graph", chosen.repeats)
    found = {name: statistics.median(values) for name, values in spans.items()}
    found["more_s"] = found["flow_s"] - found["dvc_repro_s"]
    found["more_with_server_s"] = found["flow_with_server_s"] - found["dvc_repro_s"]
    found["plan_200_s"] = max(map(statistics.median, plans.values()))
    result = {name: round(value, 2) for name, value in found.items()} | {"same_lock": equal}
    missed = [name for name, most in AIMS.items() if found[name] > most]
    if chosen.save:
        each = {name: [round(value, 2) for value in values] for name, values in {**spans, **plans}.items()}
        about = {"params": chosen.params.name, "aims": AIMS, "missed": missed, "each": each, "machine": machine()}
        write_json(RESULT_FILE, {**result, **about})
    print(json.dumps({**result, "missed": missed}))
    raise SystemExit(not equal)


def run_pipelines(folder: Path, params: Path, rounds: int) -> tuple[dict[str, list[float]], bool, Path]:
    """Run all of the pipeline in each way, in turns; return the seconds, whether all left the same, and a project."""
    spans: dict[str, list[float]] = defaultdict(list)
    locks = set()
    home = folder / "prefect"
    with server(home):
        say("the server has made its database")
    for number in range(rounds):
        ways = ["dvc_repro_s", "flow_with_server_s", "flow_s"]
        for way in ways if number % 2 == 0 else reversed(ways):
            project = folder / f"{way}{number}"
            project.mkdir()
            copy_project(project, params)
            if way == "dvc_repro_s":
                spans[way].append(_time(project, environment(project), "dvc", "repro"))
            elif way == "flow_s":
                with server(home) as url:
                    spans[way].append(_time(project, flow_environment(project, url), "flows.pipeline"))
            else:
                alone = {**flow_environment(project, None), "PREFECT_HOME": str(home)}
                spans[way].append(_time(project, alone, "flows.pipeline"))
            locks.add((project / "dvc.lock").read_bytes())
            say(f"{way}: {spans[way][-1]:.1f}")
    return spans, len(locks) == 1, project


def idle(project: Path, home: Path, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of flows with nothing to do in ``project``, which is finished, with a server that is up."""
    spans: dict[str, list[float]] = defaultdict(list)
    with server(home) as url:
        # One more, whose time does not count: it is the first to publish what the stages left.
        for number in range(repeats + 1):
            seconds = _time(project, flow_environment(project, url), "flows.pipeline")
            if number:
                spans["flow_noop_s"].append(seconds)
                spans["flow_noop_inside_s"].append(float(last_run(url)["total_run_time"]))
                say(f"nothing to do: {seconds:.2f}, within the flow {spans['flow_noop_inside_s'][-1]:.2f}")
    return spans


def time_plans(folder: Path, repeats: int) -> Mapping[str, list[float]]:
    """Return the seconds of planning 200 stages that never ran, that are finished, and whose seed changed."""
    project = make_project(folder, layered(200))
    spans = {"plan_new_s": _time_plan(project, repeats)}
    finish(project)
    if dvc(project, "status", "--json").strip() != "{}":
        raise RuntimeError("the made-up stages are not finished")
    spans["plan_finished_s"] = _time_plan(project, repeats)
    set_seed(project, 1)
    return {**spans, "plan_changed_s": _time_plan(project, repeats)}


def _time_plan(project: Path, repeats: int) -> list[float]:
    spans = [_time(project, flow_environment(project, None), "flows.repo.plan") for _ in range(repeats)]
    say(f"plan of 200 stages: {statistics.median(spans):.2f}")
    return spans


def _time(project: Path, environment: Mapping[str, str], *module: str) -> float:
    """Return the seconds of `python -m module`; RuntimeError with its output if it fails."""
    began = time.monotonic()
    command = [sys.executable, "-m", *module]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(module)} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return seconds


if __name__ == "__main__":
    main()
