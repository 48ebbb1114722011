"""Try combinations of settings: ``python -m flows.sweep.cli --set pretrain.method=simclr,vicreg --set seed=0,1,2 ...``.

Each combination has a worktree of what is committed. A stage that is the same for several of them runs once, and
the others take its result from DVC's cache. Running the same sweep again goes on where it was.
"""

import argparse
import hashlib
import json
import logging
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.machine.lock import hold
from flows.pipeline import deliver
from flows.repo.plan import read_plan
from flows.server.start import api
from flows.stages import REFUSED
from flows.sweep.flow import page_of, split_metric, sweep
from flows.sweep.grid import Combination, label, product, read_values, share, with_values
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import say
from tasks.stage import guarded
from tasks.yaml_files import PARAMS_FILE, read_yaml

LOCK_FILE = Path(".graftline/sweep.lock")
BUSY = "another sweep is going on here: wait until it ends, or stop it"


def _dask(slots: int) -> TaskRunner[Any]:
    from prefect_dask import DaskTaskRunner

    logging.getLogger("distributed").setLevel(logging.WARNING)
    return DaskTaskRunner(cluster_kwargs={"n_workers": slots, "threads_per_worker": 1, "dashboard_address": None})


def _ray(slots: int) -> TaskRunner[Any]:
    from prefect_ray import RayTaskRunner

    return RayTaskRunner(init_kwargs={"num_cpus": slots, "include_dashboard": False})


RUNNERS: Mapping[str, Callable[[int], TaskRunner[Any]]] = {
    "threads": lambda slots: ThreadPoolTaskRunner(max_workers=slots),
    "dask": _dask,
    "ray": _ray,
}


def main() -> None:
    """Run a sweep: exit code 0 done, 2 a user's mistake, 1 a crash."""
    given = _arguments()
    combinations = {label(one): one for one in product(read_values(given.set))}
    read_yaml(PARAMS_FILE)
    text = PARAMS_FILE.read_text(encoding="utf-8-sig")
    texts = [with_values(text, combination) for combination in combinations.values()]  # nothing is started for a typo
    commit, nodes = _commit(given.allow_edits), share(texts)
    read_plan()  # nor where DVC cannot read the project
    name = _name(given.name, combinations, commit)
    most = max(sum(number in node.combinations for node in nodes) for number in range(len(texts)))
    say(f"{name}: {len(combinations)} combinations of {most} stages, {len(nodes)} different stages to run")
    if given.plan:
        say("\n".join(f"  {one}" for one in combinations))
        return
    split_metric(given.metric, nodes)
    runner = _runner(given.runner, given.slots)
    with hold(LOCK_FILE, BUSY), api() as url, temporary_settings({PREFECT_API_URL: url}):
        try:
            state = sweep.with_options(task_runner=runner)(
                name, combinations, commit, given.metric, given.min, given.promote, return_state=True
            )
        finally:
            deliver()
    if (page := page_of(name)).exists():
        say(f"the comparison: {page.resolve().as_uri()}")
    if state.name == REFUSED:
        raise UserError(str(state.message))
    if not state.is_completed():
        raise SystemExit(f"error: {state.message}")
    say(str(state.message))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Try combinations of settings of params.yaml, and compare them.")
    add = parser.add_argument
    add("--set", action="append", required=True, metavar="KEY=VALUE,...", help="a key and the values to try")
    add("--metric", metavar="FILE:KEY", help="what to compare by, as in metrics/pretrain.json:loss")
    add("--min", action="store_true", help="less of the metric is better")
    add("--name", help="of the sweep (default: made of the settings and the commit)")
    add("--slots", type=int, default=2, help="how many stages run at a time (default: 2)")
    add("--runner", choices=list(RUNNERS), default="threads", help="what runs them (default: threads)")
    add("--plan", action="store_true", help="list the combinations, and run nothing")
    add("--promote", action="store_true", help="apply the best experiment to this workspace in the end")
    add("--allow-edits", action="store_true", help="leave edits that are not committed out of the sweep")
    given = parser.parse_args()
    if not given.plan and not given.metric:
        parser.error("--metric is needed: by what are the combinations compared?")
    if given.promote and given.allow_edits:
        parser.error("--promote changes this workspace: commit its edits first")
    if given.slots < 1:
        parser.error("--slots must be at least 1")
    return given


def _name(given: str | None, combinations: Mapping[str, Combination], commit: str) -> str:
    digest = hashlib.sha256(json.dumps(list(combinations)).encode()).hexdigest()[:6]
    name = given or f"sweep-{digest}-{commit}"
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UserError(f"--name is '{name}', but takes letters, digits, dashes and underscores")
    return name


def _commit(allow_edits: bool) -> str:
    """Return the short name of the last commit; UserError where tracked files have edits, unless they are allowed."""
    said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    if said.returncode:
        raise UserError("this folder is not a git repository with a commit, which a sweep runs: 'git init' and commit")
    if subprocess.run(["git", "config", "user.email"], capture_output=True, check=False).returncode:
        raise UserError(
            "git does not know who you are, which experiments need: set git config user.name and user.email"
        )
    command = ["git", "status", "--porcelain", "--untracked-files=no"]
    status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    if status and not allow_edits:
        edited = ", ".join(line[3:] for line in status)
        raise UserError(f"a sweep runs what is committed, but {edited} has edits: commit them, or say --allow-edits")
    return said.stdout.strip()


def _runner(name: str, slots: int) -> TaskRunner[Any]:
    try:
        return RUNNERS[name](slots)
    except ImportError:
        raise UserError(f"--runner {name} is not installed: pip install prefect-{name}, or take threads") from None


if __name__ == "__main__":
    guarded(main)
