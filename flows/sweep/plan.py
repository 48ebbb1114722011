"""The plan of a sweep: what is committed, its combinations, and the different stages to run."""

import hashlib
import re
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.sweep.grid import Combination, Node, labelled, product, share, with_values
from pipeline_lib.core.errors import UserError
from tasks.meta import parse_meta
from tasks.yaml_files import DVC_FILE, PARAMS_FILE


@dataclass(frozen=True)
class Plan:
    """What a sweep runs at ``commit``, whose params.yaml reads ``params``: combinations by their labels, and nodes."""

    name: str
    commit: str
    params: str
    combinations: Mapping[str, Combination]
    nodes: Sequence[Node]

    def experiment(self, label: str) -> str:
        """Return the name of a combination's experiment."""
        return f"{self.name}-{label}"

    @property
    def most_stages(self) -> int:
        """How many stages the combination with the most of them has."""
        return max(Counter(number for node in self.nodes for number in node.combinations).values())


def read_sweep(settings: Mapping[str, Sequence[Any]], name: str | None = None, commit: str = "HEAD") -> Plan:
    """Plan a sweep over the values of ``settings``; UserError for what cannot run, be it one of the combinations."""
    commit = commit_of(commit)
    if subprocess.run(["git", "config", "user.email"], capture_output=True, check=False).returncode:
        raise UserError(
            "git does not know who you are, which experiments need: set git config user.name and user.email"
        )
    combinations = labelled(product(settings))
    text = _committed(commit, str(PARAMS_FILE))
    params, raw = _parsed(text, str(PARAMS_FILE)), _parsed(_committed(commit, str(DVC_FILE)), str(DVC_FILE))
    if not isinstance(raw.get("stages"), dict):
        raise UserError(f"{DVC_FILE} has no stages at commit {commit[:7]}: commit one that has")
    nodes = share(raw, [with_values(params, one) for one in combinations.values()])
    for node in nodes:
        parse_meta(node.stage, node.meta)  # refused before anything runs
    return Plan(_name(name, combinations, commit), commit, text, combinations, nodes)


def commit_of(revision: str = "HEAD") -> str:
    """Return the hash of a commit."""
    no_commit = "this folder is not a git repository with a commit, which a sweep runs: 'git init' and commit"
    sentence = no_commit if revision == "HEAD" else f"git knows no commit '{revision}': name another"
    return _git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}", sentence=sentence).strip()


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


def _name(given: str | None, combinations: Mapping[str, Combination], commit: str) -> str:
    digest = hashlib.sha256(repr(list(combinations)).encode()).hexdigest()[:6]
    name = given or f"sweep-{digest}-{commit[:7]}"
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UserError(f"--name is '{name}', but takes letters, digits, dashes and underscores")
    return name


def _committed(commit: str, file: str) -> str:
    return _git("show", f"{commit}:./{file}", sentence=f"{file} is not in the commit {commit[:7]}: commit it")


def _parsed(text: str, file: str) -> dict[str, Any]:
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise UserError(f"{file}, as it is committed, is not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise UserError(f"{file}, as it is committed, must hold a mapping of blocks")
    return content


def _git(*arguments: str, sentence: str) -> str:
    ended = subprocess.run(["git", *arguments], capture_output=True, text=True, encoding="utf-8", check=False)
    if ended.returncode:
        raise UserError(sentence)
    return ended.stdout
