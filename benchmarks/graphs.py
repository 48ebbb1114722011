"""Projects with made-up stages, and a Prefect server of their own, for what is measured of the flow alone."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import httpx

from benchmarks.scratch import LEAST_PARAMS, ROOT, environment
from flows.server.settings import auth
from flows.server.start import api
from tasks.yaml_files import read_yaml


def parallel(count: int) -> dict[str, Any]:
    """Return ``count`` stages as dvc.yaml has them, none of which needs another; all read one file."""
    return {f"stage{index}": _stage(f"stage{index}", ()) for index in range(count)}


def layered(count: int, width: int = 10) -> dict[str, Any]:
    """Return ``count`` stages in layers of ``width``, each of which needs two of the layer before it."""
    stages: dict[str, Any] = {}
    for index in range(count):
        first = (index // width - 1) * width
        above = sorted({first + index % width, first + (index + 1) % width}) if first >= 0 else []
        stages[f"stage{index}"] = _stage(f"stage{index}", tuple(f"out/stage{number}.txt" for number in above))
    return stages


def _stage(name: str, above: tuple[str, ...]) -> dict[str, Any]:
    # A shell rather than a Python, so that many at once do not choke a small machine.
    command = f"mkdir -p out && (echo {name}; cat {' '.join(('input.txt', 'params.yaml', *above))}) > out/{name}.txt"
    return {"cmd": command, "params": ["seed"], "deps": ["input.txt", *above], "outs": [f"out/{name}.txt"]}


def make_project(folder: Path, stages: Mapping[str, Any]) -> Path:
    """Make a repository in ``folder`` with ``stages`` in its dvc.yaml, and nothing run yet."""
    folder.mkdir(parents=True)
    (folder / "input.txt").write_text("what every stage reads\n")
    set_seed(folder, 0)
    # JSON is YAML, and keeps the order.
    (folder / "dvc.yaml").write_text(json.dumps({"stages": dict(stages)}, indent=2))
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    for arguments in (["init"], ["config", "core.analytics", "false"], ["config", "core.check_update", "false"]):
        dvc(folder, *arguments, "--quiet")
    return folder


def set_seed(folder: Path, seed: int) -> None:
    """Write params.yaml with ``seed``, on which every stage depends."""
    (folder / "params.yaml").write_text(LEAST_PARAMS.format(seed=seed, file="input.txt"))


def dvc(folder: Path, *arguments: str) -> str:
    """Run ``dvc arguments`` in ``folder`` and return what it prints; RuntimeError with it if DVC fails."""
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"dvc {' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def finish(folder: Path) -> None:
    """Run every stage without DVC, which would take minutes for hundreds, and record them as DVC does."""
    stages = read_yaml(folder / "dvc.yaml")["stages"]
    commands = "\n".join(stage["cmd"] for stage in stages.values())
    subprocess.run(["sh", "-e"], input=commands, cwd=folder, text=True, check=True)
    dvc(folder, "commit", "--force", "--quiet")


def lost_entries(folder: Path) -> list[str]:
    """Return the stages of dvc.yaml that dvc.lock lacks, or has with other outputs or another seed than are there."""
    stages, lock_file = read_yaml(folder / "dvc.yaml")["stages"], folder / "dvc.lock"
    entries = read_yaml(lock_file)["stages"] if lock_file.exists() else {}
    seed = read_yaml(folder / "params.yaml")["seed"]
    return [name for name in stages if not _recorded(folder, entries.get(name), seed)]


def _recorded(folder: Path, entry: Mapping[str, Any] | None, seed: int) -> bool:
    if entry is None or entry["params"]["params.yaml"]["seed"] != seed:
        return False
    return all(_md5(folder / out["path"]) == out["md5"] for out in entry["outs"])


def _md5(file: Path) -> str:
    """Return what DVC names the content of ``file`` by."""
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() if file.exists() else ""


@contextmanager
def server(home: Path) -> Iterator[str]:
    """Run a Prefect server whose database is in ``home``, and yield the address of its API."""
    home.mkdir(parents=True, exist_ok=True)
    mine = {**environment(home), "PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT)}
    mine.pop("PREFECT_API_URL", None)
    with mock.patch.dict(os.environ, mine, clear=True), api() as url:
        yield url


def flow_environment(folder: Path, url: str | None) -> dict[str, str]:
    """Return the environment for a flow in ``folder`` that uses the server at ``url``, or starts one of its own."""
    mine = {**environment(folder), "PYTHONPATH": str(ROOT)}
    mine.pop("PREFECT_API_URL", None)
    return {**mine, "PREFECT_API_URL": url} if url else mine


def last_run(url: str) -> dict[str, Any]:
    """Return what the server at ``url`` knows of the flow run that started last."""
    return ask(f"{url}/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1})[0]


def ask(url: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a Prefect server answers to ``body``; httpx.HTTPError if it refuses."""
    return list(httpx.post(url, json=dict(body), auth=auth(), timeout=60).raise_for_status().json())
