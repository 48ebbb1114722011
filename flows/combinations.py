"""What a sweep runs: the product of the values, and each stage once for all combinations that it is the same for."""

import hashlib
import io
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.plan import DVC_FILE, PlannedStage
from pipeline_lib.core.errors import UserError
from tasks.params import PARAMS_FILE, check_params, read_yaml

Combination = Mapping[str, Any]


@dataclass(frozen=True)
class Node:
    """A stage that is the same for some of the combinations, given by their numbers; the first of them runs it."""

    stage: str
    combinations: tuple[int, ...]
    upstream: tuple[int, ...]


def read_values(settings: Iterable[str]) -> dict[str, list[Any]]:
    """Read settings such as ``seed=0,1`` as the values of each key; UserError for one that cannot be read."""
    found: dict[str, list[Any]] = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        try:
            values = YAML(typ="safe", pure=True).load(f"[{text}]") if separator else []
        except YAMLError:
            values = []
        if not key or not values:
            raise UserError(f"'{setting}' is not a key and its values: write it as in seed=0,1,2")
        if key in found:
            raise UserError(f"the key '{key}' is set twice: put all of its values behind one --set")
        found[key] = list({json.dumps(value, default=str): value for value in values}.values())
    return found


def product(values: Mapping[str, Sequence[Any]]) -> list[Combination]:
    """Return every combination of the values."""
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


def with_values(text: str, combination: Combination) -> str:
    """Return the text of params.yaml with the values of a combination, its comments kept.

    Raises UserError for a key that does not exist or a value that is not allowed, as a stage would.
    """
    editor = YAML()  # keeps comments
    editor.width = 4096
    editor.preserve_quotes = True
    raw = editor.load(text)
    for key, value in combination.items():
        *blocks, last = key.split(".")
        place = raw
        for block in blocks:
            place = place.setdefault(block, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise UserError(f"{PARAMS_FILE} has no key '{key}': '{'.'.join(blocks)}' holds no further keys")
        place[last] = value
    check_params(YAML(typ="safe", pure=True).load(_dump(editor, raw)))
    return _dump(editor, raw)


def label(combination: Combination) -> str:
    """Return a name for a combination, which a person can read and a file, a branch and an address can have."""
    readable = "-".join(f"{key.split('.')[-1]}_{value}" for key, value in combination.items())
    digest = hashlib.sha256(json.dumps(combination, sort_keys=True, default=str).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', readable)[:60]}-{digest[:4]}"


def share(plan: Sequence[PlannedStage], combinations: Sequence[Combination]) -> list[Node]:
    """Return the stages to run for all combinations, each after those that it needs.

    A stage is the same for combinations that agree in all that it or a stage before it reads.
    """
    declared = read_yaml(Path(DVC_FILE))["stages"]
    keys = list(combinations[0])
    reads: dict[str, set[str]] = {}
    nodes: list[Node] = []
    numbers: dict[tuple[str, int], int] = {}
    for stage in plan:
        own = {key for key in keys if _reads(declared[stage.name], key)}
        reads[stage.name] = own.union(*(reads[above] for above in stage.upstream))
        groups: dict[str, list[int]] = {}
        for index, combination in enumerate(combinations):
            read = {key: combination[key] for key in keys if key in reads[stage.name]}
            groups.setdefault(json.dumps(read, default=str), []).append(index)
        for group in groups.values():
            upstream = {numbers[above, index] for above in stage.upstream for index in group}
            numbers |= {(stage.name, index): len(nodes) for index in group}
            nodes.append(Node(stage.name, tuple(group), tuple(sorted(upstream))))
    return nodes


def _reads(declaration: Mapping[str, Any], key: str) -> bool:
    """Say whether a stage of dvc.yaml reads a key of params.yaml: itself, its block, the whole file, or in its text."""
    params = declaration.get("params", [])
    named = [param for param in params if isinstance(param, str)]
    if len(named) < len(params) or str(PARAMS_FILE) in declaration.get("deps", []):
        return True
    interpolated = re.findall(r"\$\{([\w.]+)\}", json.dumps(declaration, default=str))
    return any(f"{key}.".startswith(f"{name}.") or f"{name}.".startswith(f"{key}.") for name in [*named, *interpolated])


def _dump(editor: YAML, raw: Any) -> str:
    stream = io.StringIO()
    editor.dump(raw, stream)
    return stream.getvalue()
