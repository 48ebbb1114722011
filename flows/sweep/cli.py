"""Try combinations of settings: ``python -m flows.sweep.cli --set pretrain.method=simclr,vicreg --set seed=0,1,2 ...``.

Each combination has a worktree of what is committed. A stage that is the same for several of them runs once, and
the others take its result from DVC's cache. Running the same sweep again goes on where it was.
"""

import argparse
import subprocess

from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.pipeline import deliver
from flows.repo.plan import read_plan
from flows.server.start import api
from flows.stages import REFUSED
from flows.sweep.flow import SLOTS, SLOTS_AWAY, page_of, sweep
from flows.sweep.grid import read_values
from flows.sweep.plan import commit_of, read_sweep, split_metric
from flows.sweep.runners import RUNNERS, task_runner
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import say
from tasks.stage import guarded


def main() -> None:
    """Run a sweep: exit code 0 done, 2 a user's mistake, 1 a crash."""
    given = _arguments()
    settings = read_values(given.set)
    commit = commit_of()
    _refuse_edits(given.allow_edits)
    plan = read_sweep(settings, given.name, commit)  # nothing is started for a typo
    read_plan()  # nor where DVC cannot read the project
    count = len(plan.combinations)
    say(f"{plan.name}: {count} combinations of {plan.most_stages} stages, {len(plan.nodes)} different stages to run")
    if given.plan:
        say("\n".join(f"  {label}" for label in plan.combinations))
        return
    split_metric(given.metric, plan.nodes)
    task_runner(given.runner, given.slots or SLOTS)
    with api() as url, temporary_settings({PREFECT_API_URL: url}):
        try:
            state = sweep(
                settings, given.metric, given.min, given.promote, plan.name, commit, given.slots, given.runner,
                given.pool, return_state=True,
            )  # fmt: skip
        finally:
            deliver()
    if (page := page_of(plan.name)).exists():
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
    add("--slots", type=int, help=f"how many stages run at a time (default: {SLOTS}, in a pool {SLOTS_AWAY})")
    runners = f"{', '.join(RUNNERS)}, or the address of a cluster, as in tcp://host:8786 or ray://host:10001"
    add("--runner", default="threads", help=f"what runs them: {runners} (default: threads)")
    add("--pool", metavar="NAME", help="a work pool of Prefect whose workers run them, each in its clone")
    add("--plan", action="store_true", help="list the combinations, and run nothing")
    add("--promote", action="store_true", help="apply the best experiment to this workspace in the end")
    add("--allow-edits", action="store_true", help="leave edits that are not committed out of the sweep")
    given = parser.parse_args()
    if not given.plan and not given.metric:
        parser.error("--metric is needed: by what are the combinations compared?")
    if given.promote and given.allow_edits:
        parser.error("--promote changes this workspace: commit its edits first")
    if given.pool and given.runner != "threads":
        parser.error("--pool and --runner exclude each other: the workers of the pool run the stages")
    if given.slots is not None and given.slots < 1:
        parser.error("--slots must be at least 1")
    return given


def _refuse_edits(allowed: bool) -> None:
    """Raise UserError where tracked files have edits, unless they are allowed."""
    command = ["git", "status", "--porcelain", "--untracked-files=no"]
    status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    if status and not allowed:
        edited = ", ".join(line[3:] for line in status)
        raise UserError(f"a sweep runs what is committed, but {edited} has edits: commit them, or say --allow-edits")


if __name__ == "__main__":
    guarded(main)
