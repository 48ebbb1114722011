"""The flow of a sweep: each different stage once, and each combination an experiment of DVC."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import deployment, flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from flows.graph import run_on_gpus
from flows.machine import child
from flows.machine.lock import hold
from flows.publish.artifacts import key
from flows.publish.name import name_run
from flows.publish.report import publish_page
from flows.repo.run import supervised
from flows.server.killed import named
from flows.server.offline import told
from flows.server.settings import project
from flows.stages import REFUSED, retrying
from flows.sweep.away import deploy, run_away
from flows.sweep.experiments import committed_stages, fetch, locked_text, read_scores, save, saved
from flows.sweep.form import Settings
from flows.sweep.grid import Node, text_with_values
from flows.sweep.places import clear_places
from flows.sweep.plan import Plan, read_sweep, split_metric
from flows.sweep.runners import is_address, task_runner
from flows.sweep.stage import Work, run_dvc, run_work
from pipeline_lib.core.errors import UserError
from pipeline_lib.report.comparison import Setting, compare, render_comparison
from tasks.meta import parse_meta

LOCK_FILE = Path(".graftline/sweep.lock")
BUSY = "another sweep is going on here: wait until it ends, or stop it"
SLOTS, SLOTS_AWAY = 2, 16


@flow(name="sweep")
def sweep(
    settings: Settings,
    metric: str,
    less: bool = False,
    promote: bool = False,
    name: str | None = None,
    commit: str = "HEAD",
    slots: Annotated[int, Field(ge=1)] | None = None,
    runner: str = "threads",
    pool: str | None = None,
) -> State:
    """Run the stages of all combinations of settings, each different one once, and compare them.

    Each combination becomes an experiment of DVC; the page that compares them is at :func:`page_of`.

    Args:
        settings: keys of params.yaml and the values to try, as in {"pretrain.method": ["simclr", "vicreg"]}
        metric: what to compare by, as in metrics/evaluate.json:heads.frozen.digit.balanced_accuracy
        less: less of the metric is better
        promote: apply the best experiment to the workspace in the end
        name: of the sweep; without one it is made of the settings and the commit
        commit: what to run
        slots: how many stages run at a time
        runner: threads, dask or ray, or the address of a cluster, as in tcp://host:8786 or ray://host:10001
        pool: a work pool whose workers run the stages, each in its clone
    """
    if deployment.get_id():
        child.die_with_parent()  # a worker that is killed leaves no run behind
    try:
        with hold(LOCK_FILE, BUSY) as file, named(file, UUID(flow_run.get_id())):
            plan = read_sweep(settings, name, commit)
            return _sweep(plan, metric, less, promote, slots or (SLOTS_AWAY if pool else SLOTS), runner, pool)
    except UserError as error:
        return Failed(name=REFUSED, message=str(error))


def page_of(name: str) -> Path:
    """Return where the comparison of a sweep is."""
    return Path("reports/sweeps") / f"{name}.html"


def _sweep(plan: Plan, metric: str, less: bool, promote: bool, slots: int, runner: str, pool: str | None) -> State:
    file, in_it = split_metric(metric, plan.nodes)
    shared = pool is not None or is_address(runner)
    keys = {one for combination in plan.combinations.values() for one in combination}
    told(lambda: name_run(plan.name, [project(), *sorted(keys)]))
    labels = {plan.experiment(label): label for label in plan.combinations}
    known = {labels[one]: locks for one, locks in saved(plan.commit, f"{plan.name}-").items() if one in labels}

    def scores() -> dict[str, float | None]:
        if shared:
            fetch(known.values(), [path for node in plan.nodes for path in node.metrics])
        return read_scores(plan.commit, {plan.experiment(one): known[one] for one in known}, file, in_it)

    done = {labels[one] for one in scores()}
    states = _run(plan, done, known, slots, runner, pool)
    found = {labels[one]: score for one, score in scores().items()}
    settings = compare(plan.combinations, found, maximise=not less)
    failed = {title: state for title, state in states.items() if state.is_failed() or state.is_crashed()}
    failures = [f"{title}: {state.message}" for title, state in failed.items()]
    _publish(plan, metric, less, settings, found, failures)
    if failed:
        refused = all(state.name == REFUSED for state in failed.values())
        return Failed(name=REFUSED if refused else None, message="; ".join(failures))
    clear_places()
    message = f"{len(found)} experiments"
    return Completed(message=f"{message}, {_promote(plan, settings[0], shared)}" if promote else message)


def _run(
    plan: Plan, done: set[str], known: dict[str, Any], slots: int, runner: str, pool: str | None
) -> dict[str, State]:
    """Run every different stage of combinations that are not ``done``, and make each an experiment as it is complete.

    What dvc.lock says of them is added to ``known``. Returns the states of all tasks by their titles.
    """
    labels, logger = list(plan.combinations), get_run_logger()
    nodes: dict[str, Node] = {}
    first: dict[str, str] = {}
    stages_of: dict[str, list[str]] = {label: [] for label in labels if label not in done}
    titles: dict[int, str] = {}
    for number, node in enumerate(plan.nodes):
        if wanting := [labels[index] for index in node.combinations if labels[index] not in done]:
            others = len(wanting) - 1
            title = f"{node.stage}: {wanting[0]}{f' and {others} more' if others else ''}"
            titles[number], nodes[title], first[title] = title, node, wanting[0]
            for label in wanting:
                stages_of[label].append(title)
    logger.info("%d combinations, %d of them done: %d different stages", len(labels), len(done), len(nodes))
    upstream = {title: [titles[number] for number in node.upstream] for title, node in nodes.items()}
    recording = {f"record: {label}": label for label in stages_of}
    upstream |= {title: stages_of[label] for title, label in recording.items()}
    order = committed_stages(plan.commit)
    texts: dict[str, str] = {}  # of dvc.lock, which many experiments share
    deployment_id = deploy(pool) if pool else None
    elsewhere = pool is not None or is_address(runner)  # where the GPUs are taken then
    gpus = {} if elsewhere else {title: int(parse_meta(node.stage, node.meta).gpu) for title, node in nodes.items()}

    def submit(title: str, above: list[Any], environment: Mapping[str, str]) -> Any:
        text = text_with_values(plan.params, plan.combinations[recording.get(title) or first[title]])
        if title not in recording:
            node = nodes[title]
            work = Work(node.stage, plan.commit, text, node.outs, node.meta)
            away = {
                "title": title,
                "digest": hashlib.sha256(f"{plan.commit} {node.digest}".encode()).hexdigest(),
                "deployment_id": deployment_id,
                "sweep": flow_run.get_id(),
            }
            options = {"name": node.stage, **retrying(parse_meta(node.stage, node.meta).retries)}
            running = _run_node.with_options(task_run_name=title, **options)
            given = {
                "work": work,
                "environment": None if elsewhere else environment,
                "away": away if deployment_id else None,
            }
            return at_work.submit(running, given, wait_for=above)
        label = recording[title]
        records = dict(zip(stages_of[label], [future.result() for future in above], strict=True))
        stages = {nodes[one].stage: record["lock"] for one, record in records.items() if record["lock"]}
        for one, record in records.items():
            texts.setdefault(one, locked_text(nodes[one].stage, record["lock"]))
        known[label] = stages
        lines = {nodes[one].stage: texts[one] for one in records}
        ordered = [lines[stage] for stage in dict.fromkeys([*order, *lines]) if stage in lines]
        files = {path: content for record in records.values() for path, content in record["files"].items()}
        return _record.with_options(task_run_name=title).submit(
            plan.commit, plan.experiment(label), text, ordered, files, wait_for=above, return_state=False
        )

    with supervised(), task_runner(runner, slots) as at_work:
        return run_on_gpus(upstream, submit, gpus, logger.info)


@task(cache_policy=NO_CACHE, name="stage")
def _run_node(work: Work, environment: Mapping[str, str] | None, away: dict[str, Any] | None) -> State:
    log = get_run_logger().info
    state, record = run_away(work, log=log, **away) if away else run_work(work, log, environment)
    state.data = record
    return state


@task(cache_policy=NO_CACHE, name="record")
def _record(commit: str, experiment: str, params: str, locked: list[str], files: dict[str, str]) -> State:
    save(commit, experiment, params, locked, files)
    return Completed(message=f"dvc exp apply {experiment}")


def _publish(
    plan: Plan,
    metric: str,
    less: bool,
    settings: list[Setting],
    scores: Mapping[str, float | None],
    failures: list[str],
) -> None:
    page = page_of(plan.name)
    facts = {"commit": plan.commit[:7], "experiments": str(len(scores)), "metric": metric}
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render_comparison(plan.name, metric, not less, settings, facts, failures), encoding="utf-8")
    rows = [{"combination": label, **one, metric: scores.get(label)} for label, one in plan.combinations.items()]
    about = f"{plan.name}, at commit {plan.commit[:7]}"
    create_table_artifact(rows, key=key("combinations"), description=about)
    publish_page(page, key("comparison"))


def _promote(plan: Plan, best: Setting, shared: bool) -> str:
    """Bring the first run of the best setting into this workspace, and say which one it is."""
    name = plan.experiment(next(label for label, score in best.runs.items() if score is not None))
    said = run_dvc(".", "exp", "apply", name)
    if said and shared:  # it is in the workspace, and its results are in the remote
        said = run_dvc(".", "pull")
    if said:
        raise UserError(f"{name} could not be applied here: {said}")
    return f"and {name} is promoted: params.yaml and the results here are its own now"
