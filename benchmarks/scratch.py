"""Copies of the project in which the pipeline can run without touching this one."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
# What a run of the pipeline needs. requirements.lock stands for the sets of images inside packages.
PARTS = (
    "dvc.yaml",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvcignore",
    ".gitignore",
    "requirements.lock",
    "flows",
    "tasks",
    "pipeline_lib",
)
# A params.yaml for made-up stages, with no more than it must have; {file} is one that is there.
LEAST_PARAMS = """seed: {seed}
device: cpu
datasets:
  mnist: {{reader: mnist5k, path: {file}}}
  digits: {{reader: digits, path: {file}}}
source: [mnist]
target: [digits]
"""


def copy_project(folder: Path, params: Path) -> Path:
    """Make a repository of the project in ``folder`` with ``params`` as its params.yaml, and nothing run yet."""
    for part in PARTS:
        source, copy = ROOT / part, folder / part
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    shutil.copy(params, folder / "params.yaml")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Return the environment for commands in ``folder``: this Python first, quiet, nothing kept elsewhere."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder / ".dvc/tmp/site"),
        "DO_NOT_TRACK": "1",
        # Who calls may have one of its own, in its environment since it imported flows: two servers, one database.
        "PREFECT_HOME": str(folder / ".graftline/prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


def outputs(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that the stages run in ``folder`` have left, by its path."""
    stages = YAML(typ="safe", pure=True).load(folder / "dvc.lock")["stages"]
    paths = [folder / out["path"] for stage in stages.values() for out in stage["outs"]]
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}


def differing(first: Path, second: Path) -> list[str]:
    """Return the paths of outputs that are in only one of two projects, or not the same bytes in both."""
    left, right = outputs(first), outputs(second)
    return sorted(path for path in {*left, *right} if left.get(path) != right.get(path))
