"""Combinations as experiments of DVC: each a commit with its params.yaml and dvc.lock, made without a worktree.

DVC finds an experiment by a reference that names the commit on which it stands.
"""

import base64
import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from dvc.repo.experiments.refs import ExpRefInfo
from dvc.utils.flatten import flatten
from dvc.utils.serialize import ParseError, dumps_yaml, loads_yaml, parse_json, parse_toml, parse_yaml
from dvc_data.hashfile.hash_info import HashInfo

from flows.repo.access import told_by_dvc
from flows.repo.lockfile import LOCK_FILE
from pipeline_lib.core.errors import UserError, nearest, shown
from tasks.yaml_files import PARAMS_FILE

_HEAD = "schema: '2.0'\nstages:\n"
_PARSERS = {".json": parse_json, ".toml": parse_toml}


def locked_text(stage: str, entry: Any) -> str:
    """Return the lines of dvc.lock on a stage, none where there is nothing to say."""
    return dumps_yaml({"stages": {stage: entry}}).removeprefix("stages:\n") if entry else ""


def save(commit: str, name: str, params: str, locked: Iterable[str], files: Mapping[str, str]) -> None:
    """Make the experiment ``name`` on ``commit``, or make it anew: the texts of its params.yaml and its dvc.lock.

    ``locked`` are lines of dvc.lock on all its stages, ``files`` what git has of their outputs, in base64.
    """
    content = {path: base64.b64decode(text) for path, text in files.items()}
    content |= {str(PARAMS_FILE): params.encode(), str(LOCK_FILE): "".join([_HEAD, *locked]).encode()}
    parts = [
        f"commit {ExpRefInfo(commit, name)}\n".encode(),
        f"committer {_git('var', 'GIT_COMMITTER_IDENT').strip()}\n".encode(),
        _data(f"dvc: commit experiment {name}".encode()),
        f"from {commit}\n".encode(),
        *(b"M 100644 inline %s\n%s" % (json.dumps(path).encode(), _data(text)) for path, text in content.items()),
        b"done\n",
    ]
    command = ["git", "fast-import", "--quiet", "--force", "--done"]
    ended = subprocess.run(command, input=b"".join(parts), capture_output=True, check=False)
    if ended.returncode:
        raise UserError(f"git could not keep the experiment {name}: {' '.join(ended.stderr.decode().split())}")


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)


def saved(commit: str, prefix: str) -> dict[str, Any]:
    """Return what dvc.lock says in each experiment on ``commit`` whose name begins with ``prefix``, by the names."""
    namespace = f"{ExpRefInfo(commit)}/"
    refs = _git("for-each-ref", "--format=%(refname)", namespace).splitlines()
    names = [ref.removeprefix(namespace) for ref in refs if ref.startswith(namespace + prefix)]
    asked = "".join(f"{namespace}{name}:{LOCK_FILE}\n" for name in names).encode()
    output = subprocess.run(["git", "cat-file", "--batch"], input=asked, capture_output=True, check=True).stdout
    found = {}
    for name in names:
        header, _, output = output.partition(b"\n")
        if header.endswith(b" missing"):
            continue
        size = int(header.rsplit(b" ", 1)[1])
        found[name] = loads_yaml(output[:size].decode()).get("stages", {})
        output = output[size + 1 :]
    return found


def committed_stages(commit: str) -> list[str]:
    """Return the stages that dvc.lock names at a commit, in its order: an experiment keeps to it."""
    text = _show(f"{commit}:{LOCK_FILE}")
    return list(loads_yaml(text).get("stages", {})) if text else []


def fetch(stages: Iterable[Mapping[str, Any]], paths: Iterable[str]) -> None:
    """Bring the outputs ``paths`` of experiments, given by what dvc.lock says in each, from DVC's remote."""
    wanted = set(paths)
    with told_by_dvc("cannot fetch the metrics of the sweep"), Repo() as repo:
        hashes = {oid for one in stages for path, oid in _hashes(one).items() if path in wanted}
        missing = {HashInfo("md5", oid) for oid in hashes if not _cached(repo, oid).exists()}
        if missing:
            repo.cloud.pull(missing)


def read_scores(commit: str, found: Mapping[str, Mapping[str, Any]], file: str, key: str) -> dict[str, float | None]:
    """Return the value of ``key`` in a metrics file of each experiment, as :func:`saved` returns them.

    One that neither DVC's cache nor git has any more is left out; UserError where a file has no such key.
    """
    scores: dict[str, float | None] = {}
    with Repo() as repo:
        for name, stages in found.items():
            oid = _hashes(stages).get(file)
            if oid and _cached(repo, oid).exists():
                text = _cached(repo, oid).read_text(encoding="utf-8")
            elif (kept := _show(f"{ExpRefInfo(commit, name)}:{file}")) is not None:
                text = kept
            else:
                continue
            scores[name] = _score(text, file, key)
    return scores


def _score(text: str, file: str, key: str) -> float | None:
    try:
        metrics = _PARSERS.get(Path(file).suffix, parse_yaml)(text, file)
    except ParseError as error:
        raise UserError(f"{file}, in which --metric is, cannot be read: {' '.join(str(error).split())}") from None
    flat = {**flatten(metrics), **metrics}
    if key not in flat:
        raise UserError(f"--metric names {key}, which is not in {file}{nearest(key, flat)}")
    value = flat[key]
    if value is not None and not isinstance(value, (int, float)):
        raise UserError(f"--metric names {key}, which is {shown(value)} in {file}, but must be a number")
    return None if value is None else float(value)


def _hashes(stages: Mapping[str, Any]) -> dict[str, str]:
    outs = (out for entry in stages.values() for out in (entry or {}).get("outs", []))
    return {out["path"]: out["md5"] for out in outs if "md5" in out}


def _cached(repo: Repo, oid: str) -> Path:
    return Path(repo.cache.local.oid_to_path(oid))


def _git(*arguments: str) -> str:
    ended = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise UserError(f"git cannot {arguments[0]}: {' '.join(ended.stderr.split())}")
    return ended.stdout


def _show(what: str) -> str | None:
    ended = subprocess.run(["git", "show", what], capture_output=True, text=True, check=False)
    return ended.stdout if ended.returncode == 0 else None
