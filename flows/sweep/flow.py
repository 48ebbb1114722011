"""The flow of a sweep: each different stage once, and each combination an experiment of DVC."""

import fcntl
import json
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, get_client, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows.graph import run_in_order
from flows.machine import child
from flows.machine.gpu import gpu_slot
from flows.repo.run import run_stage, stopping, supervised
from flows.repo.worktree import worktree
from flows.stages import CACHED, REFUSED, STOPPED, retrying
from flows.sweep.grid import Node, share, with_values
from pipeline_lib.core.errors import UserError, nearest
from pipeline_lib.core.files import read_json
from pipeline_lib.report.comparison import SEED, Setting, compare, render_comparison
from tasks.meta import Meta, parse_meta
from tasks.yaml_files import PARAMS_FILE


@flow(name="sweep")
def sweep(
    name: str,
    combinations: dict[str, dict[str, Any]],
    commit: str,
    metric: str,
    less: bool = False,
    promote: bool = False,
) -> State:
    """Run the stages of all ``combinations``, given by their labels, at ``commit``, and compare them by ``metric``.

    A combination's worktree is ``sweeps/<name>/<label>`` and its experiment ``<name>-<label>``. The page of the
    comparison is at :func:`page_of`. ``less`` of the metric may be better; with ``promote`` the best is applied to
    this workspace.
    """
    try:
        return _sweep(name, combinations, commit, metric, less, promote)
    except UserError as error:
        return Failed(name=REFUSED, message=str(error))


def page_of(name: str) -> Path:
    """Return where the comparison of a sweep is."""
    return Path("reports/sweeps") / f"{name}.html"


def split_metric(metric: str, nodes: Sequence[Node]) -> tuple[str, str]:
    """Return the file and the key of a metric; UserError if not every combination leaves such a file."""
    file, _, key = metric.partition(":")
    leaving: dict[str, set[int]] = {}
    for node in nodes:
        for path in node.metrics:
            leaving.setdefault(path, set()).update(node.combinations)
    every = set().union(*leaving.values())
    files = [path for path, found in leaving.items() if found == every]
    if file not in files or not key:
        raise UserError(f"--metric is '{metric}', but must be one of {', '.join(files)}, a colon and a key in it")
    return file, key


def _sweep(
    name: str, combinations: Mapping[str, Mapping[str, Any]], commit: str, metric: str, less: bool, promote: bool
) -> State:
    _name_run(name, combinations)
    folders = {one: _folder(name, one, values, commit) for one, values in combinations.items()}
    nodes = share([(Path(folder) / PARAMS_FILE).read_text(encoding="utf-8") for folder in folders.values()])
    file, key = split_metric(metric, nodes)
    states = _run(name, nodes, folders)
    recorded = [one for one in combinations if states[f"record: {one}"].is_completed()]
    scores = [_score(Path(folders[one]) / file, key) if one in recorded else None for one in combinations]
    shown = {one: _shown(values) for one, values in combinations.items()}
    settings = compare(list(shown.values()), scores, maximise=not less)
    failed = {title: state for title, state in states.items() if state.is_failed() or state.is_crashed()}
    failures = [f"{title}: {state.message}" for title, state in failed.items()]
    facts = {"commit": commit, "experiments": str(len(recorded)), "metric": metric}
    page_of(name).parent.mkdir(parents=True, exist_ok=True)
    page_of(name).write_text(render_comparison(name, metric, not less, settings, facts, failures), encoding="utf-8")
    rows = [{"combination": one, **shown[one], metric: score} for one, score in zip(combinations, scores, strict=True)]
    create_table_artifact(rows, key="combinations", description=f"{name}, at commit {commit}")
    create_link_artifact(page_of(name).resolve().as_uri(), link_text=str(page_of(name)), key="comparison")
    if failed:
        refused = all(state.name == REFUSED for state in failed.values())
        return Failed(name=REFUSED if refused else None, message="; ".join(failures))
    message = f"{len(recorded)} experiments"
    return Completed(message=f"{message}, {_promote(name, shown, settings[0])}" if promote else message)


def _run(name: str, nodes: Sequence[Node], folders: Mapping[str, str]) -> dict[str, State]:
    """Run every different stage, record every combination, and return the states of all these tasks by their titles."""
    labels, logger = list(folders), get_run_logger()
    for node in nodes:
        parse_meta(node.stage, node.meta)  # refused before anything runs
    logger.info("%d combinations: %d different stages", len(labels), len(nodes))
    titles: list[str] = []
    for node in nodes:
        others = len(node.combinations) - 1
        titles.append(f"{node.stage}: {labels[node.combinations[0]]}{f' and {others} more' if others else ''}")
    found = dict(zip(titles, nodes, strict=True))
    upstream = {title: [titles[number] for number in node.upstream] for title, node in found.items()}
    recording = {f"record: {one}": one for one in labels}
    for index, title in enumerate(recording):
        upstream[title] = [above for above, node in found.items() if index in node.combinations]

    def submit(title: str, above: list[Any]) -> Any:
        if one := recording.get(title):
            return _record.with_options(task_run_name=title).submit(
                folders[one], f"{name}-{one}", wait_for=above, return_state=False
            )
        node = found[title]
        meta, folder = parse_meta(node.stage, node.meta), folders[labels[node.combinations[0]]]
        running = _run_node.with_options(task_run_name=title, **retrying(meta.retries))
        return running.submit(node.stage, folder, meta, wait_for=above, return_state=False)

    with supervised():
        return run_in_order(upstream, submit)


def _folder(name: str, one: str, values: Mapping[str, Any], commit: str) -> str:
    """Make the worktree of a combination, and return where it is."""
    folder = worktree(f"sweeps/{name}/{one}", commit)
    file = folder / PARAMS_FILE
    file.write_text(with_values(file.read_text(encoding="utf-8"), values), encoding="utf-8")
    return str(folder)


@task(cache_policy=NO_CACHE, name="stage")
def _run_node(stage: str, folder: str, meta: Meta) -> State:
    logger = get_run_logger()
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        logger.info(line)

    with gpu_slot(stopping, lambda: logger.info("waits for a GPU")) if meta.gpu else nullcontext() as environment:
        result = run_stage(
            stage,
            on_line,
            lambda event: None,  # as many stages at a time as a sweep runs would bury each other's progress
            meta.timeout,
            folder,
            environment=environment,
            # What is before it may have run for another combination: DVC's cache has it.
            with_upstream=True,
        )
    if result.failure == "stopped":
        return Cancelled(name=STOPPED, message=result.error)
    if result.failure:
        return Failed(name=REFUSED if result.failure == "mistake" else None, message=result.error)
    return Completed(name=None if f"Running stage '{stage}':" in lines else CACHED)


@task(cache_policy=NO_CACHE, name="record")
def _record(folder: str, experiment: str) -> State:
    save = ("exp", "save", "--quiet", "--force", "--name", experiment, "--include-untracked", "dvc.lock")
    said = run_dvc(folder, "--wait-for-lock", "repro", "--quiet")
    with (Path(folder).parent / ".record.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # DVC fails where two of its processes write into one git repository
        said = said or run_dvc(folder, *save)
    if said:
        return Failed(message=f"{experiment} could not be recorded: {said}")
    return Completed(message=f"dvc exp apply {experiment}")


def run_dvc(folder: str | Path, *arguments: str) -> str:
    """Run DVC in ``folder``; return what it said if it failed, and nothing if it did not."""
    process = child.start("dvc", *arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = process.communicate()
    return " ".join(output.split()) if process.returncode else ""


def _shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a combination with lists and mappings as texts, which can be compared and shown."""
    texts = (list, dict)
    return {key: json.dumps(value, default=str) if isinstance(value, texts) else value for key, value in values.items()}


def _name_run(name: str, combinations: Mapping[str, Mapping[str, Any]]) -> None:
    tags = sorted({f"{key} {value}" for values in combinations.values() for key, value in values.items()})
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(flow_run.get_id()), name=name, tags=tags)


def _score(file: Path, key: str) -> float | None:
    metrics = read_json(file)
    if key not in metrics:
        raise UserError(f"--metric names {key}, which is not in {file}{nearest(key, metrics)}")
    return None if metrics[key] is None else float(metrics[key])


def _promote(name: str, combinations: Mapping[str, Mapping[str, Any]], best: Setting) -> str:
    """Bring the first run of the best setting into this workspace, and say which one it is."""
    seed = next((seed for seed, score in best.seeds.items() if score is not None), None)
    wanted = {**best.values, **({SEED: seed} if seed is not None else {})}
    one = next(one for one, values in combinations.items() if dict(values) == wanted)
    if said := run_dvc(".", "exp", "apply", f"{name}-{one}"):
        raise UserError(f"{name}-{one} could not be applied here: {said}")
    return f"and {name}-{one} is promoted: params.yaml and the results here are its own now"
