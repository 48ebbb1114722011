"""What a sweep runs: the product of the values, and each stage once for all combinations that it is the same for."""

import hashlib
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline_lib.core.errors import UserError
from tasks.declaration import Declaration, look_up, makes, read_dvc_file, resolve
from tasks.params import check_params
from tasks.yaml_files import DVC_FILE, PARAMS_FILE

Combination = Mapping[str, Any]


@dataclass(frozen=True)
class Node:
    """A stage that is the same for some of the combinations, given by their numbers; the first of them runs it.

    ``stage`` is its address, ``metrics`` and ``meta`` are what dvc.yaml says of it, and ``upstream`` are the numbers of
    the nodes that it needs.
    """

    stage: str
    metrics: tuple[str, ...]
    meta: Any
    combinations: tuple[int, ...]
    upstream: tuple[int, ...]


def read_values(settings: Iterable[str]) -> dict[str, list[Any]]:
    """Read settings such as ``seed=0,1`` as the values of each key; UserError for one that cannot be read.

    Keys that change together stand behind one another, and a value has one for each: ``source,target=[[a],[b]]``.
    """
    found: dict[str, list[Any]] = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        try:
            values = YAML(typ="safe", pure=True).load(f"[{text}]") if separator else []
        except YAMLError:
            values = []
        if not key or not values:
            raise UserError(f"'{setting}' is not a key and its values: write it as in seed=0,1,2")
        names = key.split(",")
        if twice := [
            name for name in names if names.count(name) > 1 or any(name in other.split(",") for other in found)
        ]:
            raise UserError(f"the key '{twice[0]}' is set twice: put all of its values behind one --set")
        if len(names) > 1 and not all(isinstance(value, list) and len(value) == len(names) for value in values):
            raise UserError(
                f"'{setting}' sets {len(names)} keys together: give a list of {len(names)} values each time"
            )
        found[key] = list({json.dumps(value, default=str): value for value in values}.values())
    return found


def product(values: Mapping[str, Sequence[Any]]) -> list[Combination]:
    """Return every combination of the values of different settings, as :func:`read_values` returns them."""
    return [
        {name: value for axis, one in zip(values, chosen, strict=True) for name, value in _split(axis, one)}
        for chosen in itertools.product(*values.values())
    ]


def _split(axis: str, value: Any) -> Iterable[tuple[str, Any]]:
    names = axis.split(",")
    return zip(names, value if len(names) > 1 else [value], strict=True)


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
    changed = _dump(editor, raw)
    check_params(_loaded(changed))
    return changed


def label(combination: Combination) -> str:
    """Return a name for a combination, which a person can read and a file, a branch and an address can have."""
    readable = "-".join(f"{key.split('.')[-1]}_{value}" for key, value in combination.items())
    digest = hashlib.sha256(json.dumps(combination, sort_keys=True, default=str).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', readable)[:60]}-{digest[:4]}"


def share(texts: Sequence[str]) -> list[Node]:
    """Return the stages to run for all combinations, given by the texts of params.yaml, each after those it needs.

    A stage is the same for combinations that agree in all that it or a stage before it reads of params.yaml. Other
    lists of seeds or datasets make other stages.
    """
    raw = read_dvc_file()
    groups: dict[str, list[int]] = {}
    found: dict[str, tuple[Declaration, list[str]]] = {}
    for number, text in enumerate(texts):
        params = _loaded(text)
        stages = resolve(raw, params)
        upstream = {address: _upstream(stage, stages.values()) for address, stage in stages.items()}
        digests: dict[str, str] = {}
        for address in _ordered(upstream):
            above = [digests[one] for one in upstream[address]]
            digests[address] = digest = _digest(stages[address], params, above)
            groups.setdefault(digest, []).append(number)
            found[digest] = stages[address], above
    numbers = {digest: number for number, digest in enumerate(groups)}
    nodes = []
    for digest, group in groups.items():
        stage, above = found[digest]
        upstream_numbers = tuple(sorted(numbers[one] for one in above))
        nodes.append(Node(stage.address, stage.metrics, stage.meta, tuple(group), upstream_numbers))
    return nodes


def _upstream(stage: Declaration, others: Iterable[Declaration]) -> list[str]:
    return [other.address for other in others if other is not stage and makes(other, stage)]


def _ordered(upstream: Mapping[str, Sequence[str]]) -> Iterator[str]:
    try:
        yield from TopologicalSorter(upstream).static_order()
    except CycleError as error:
        raise UserError(f"{DVC_FILE}: the stages need each other in a circle: {', '.join(error.args[1])}") from None


def _digest(stage: Declaration, params: Mapping[str, Any], above: Sequence[str]) -> str:
    whole_file = str(PARAMS_FILE) in (*stage.deps, *stage.params_files)
    read = params if whole_file else [look_up(key, params) for key in stage.params]
    # As Python writes them, so that 1, 1.0 and "1" are three values.
    return hashlib.sha256(repr((stage, read, sorted(above))).encode("utf-8", "surrogatepass")).hexdigest()


def _loaded(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def _dump(editor: YAML, raw: Any) -> str:
    stream = io.StringIO()
    editor.dump(raw, stream)
    return stream.getvalue()
