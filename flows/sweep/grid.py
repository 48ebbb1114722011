"""What a sweep runs: the product of the values, and each stage once for all combinations that it is the same for."""

import copy
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
from tasks.declaration import Declaration, look_up, makes, resolve
from tasks.params import check_params
from tasks.yaml_files import DVC_FILE, PARAMS_FILE

Combination = Mapping[str, Any]
READABLE, DIGITS = 60, 8  # of a combination's name
_EXPRESSION = re.compile(r"\$\{\s*([^.\[\s}]+)")


@dataclass(frozen=True)
class Node:
    """A stage that is the same for some of the combinations, given by their numbers; it runs for the first of them.

    ``stage`` is its address, ``outs``, ``metrics`` and ``meta`` are what dvc.yaml says of it, and ``upstream`` are the
    numbers of the nodes that it needs. Nodes with the same ``digest`` are the same.
    """

    stage: str
    outs: tuple[str, ...]
    metrics: tuple[str, ...]
    meta: Any
    combinations: tuple[int, ...]
    upstream: tuple[int, ...]
    digest: str


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
        if key in found:
            raise UserError(f"the key '{key}' is set twice: put all of its values behind one --set")
        found[key] = values
    return found


def product(values: Mapping[str, Sequence[Any]]) -> list[Combination]:
    """Return every combination of the values of different settings, as :func:`read_values` returns them.

    Raises UserError for a key that is set twice, and for values that are not one for each of several keys.
    """
    axes: list[list[Combination]] = []
    for key, listed in values.items():
        names = key.split(",")
        others = [name for other in values if other != key for name in other.split(",")]
        if twice := [name for name in names if names.count(name) > 1 or name in others]:
            raise UserError(f"the key '{twice[0]}' is set twice: put all of its values behind one --set")
        if len(names) > 1 and not all(isinstance(value, list) and len(value) == len(names) for value in listed):
            setting = f"{key}={','.join(map(str, listed))}"
            raise UserError(
                f"'{setting}' sets {len(names)} keys together: give a list of {len(names)} values each time"
            )
        # As Python writes them, so that 1, 1.0 and "1" are three values.
        different = {repr(value): value for value in listed}.values()
        axes.append([dict(zip(names, value if len(names) > 1 else [value], strict=True)) for value in different])
    return [{key: one[key] for one in chosen for key in one} for chosen in itertools.product(*axes)]


def labelled(combinations: Sequence[Combination]) -> dict[str, Combination]:
    """Return the combinations by names that a person can read and a file, a branch and an address can have.

    A name ends with as many digits of the combination's hash as tell all of them apart.
    """
    digests = [hashlib.sha256(repr(sorted(one.items())).encode()).hexdigest() for one in combinations]
    digits = next(n for n in range(DIGITS, 65) if len({digest[:n] for digest in digests}) == len(combinations))
    return {f"{_readable(one)}-{digest[:digits]}": one for one, digest in zip(combinations, digests, strict=True)}


def _readable(combination: Combination) -> str:
    text = "-".join(f"{key.split('.')[-1]}_{value}" for key, value in combination.items())
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)[:READABLE]


def with_values(params: Mapping[str, Any], combination: Combination) -> dict[str, Any]:
    """Return what params.yaml holds with the values of a combination, and leave ``params`` as it is.

    Raises UserError for a key that does not exist or a value that is not allowed, as a stage would.
    """
    changed = dict(params)
    for key, value in combination.items():
        _put(changed, key, value)
    check_params(changed)
    return changed


def _put(params: dict[str, Any], key: str, value: Any) -> None:
    """Put a value in its place, in copies of the blocks that lead to it: others share them."""
    *blocks, last = key.split(".")
    place: Any = params
    for block in blocks:
        inner = place.get(block, {})
        if not isinstance(inner, dict):
            raise UserError(f"{PARAMS_FILE} has no key '{key}': '{'.'.join(blocks)}' holds no further keys")
        place[block] = place = copy.copy(inner)
    place[last] = value


def text_with_values(text: str, combination: Combination) -> str:
    """Return the text of params.yaml with the values of a combination, its comments kept."""
    editor = YAML()  # keeps comments
    editor.width = 4096
    editor.preserve_quotes = True
    raw = editor.load(text)
    for key, value in combination.items():
        *blocks, last = key.split(".")
        place = raw
        for block in blocks:
            place = place.setdefault(block, {})
        place[last] = value
    stream = io.StringIO()
    editor.dump(raw, stream)
    return stream.getvalue()


def share(raw: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> list[Node]:
    """Return the stages to run for all combinations, each after those that it needs.

    ``raw`` is what dvc.yaml holds, ``found`` what params.yaml holds for each combination. A stage is the same for
    combinations that agree in all that it or a stage before it reads of params.yaml. Other lists of seeds or datasets
    make other stages.
    """
    used = sorted(set(_EXPRESSION.findall(json.dumps(raw, default=str))))
    graphs: dict[str, list[_Stage]] = {}
    groups: dict[str, list[int]] = {}
    stages: dict[str, tuple[_Stage, list[str]]] = {}
    for number, params in enumerate(found):
        # The stages depend on the values that dvc.yaml names, which most combinations share.
        values = repr([params.get(key) for key in used])
        if values not in graphs:
            graphs[values] = list(_graph(resolve(raw, params)))
        digests: dict[str, str] = {}
        for stage in graphs[values]:
            above = sorted(digests[one] for one in stage.upstream)
            digests[stage.declared.address] = digest = _digest(stage, params, above)
            groups.setdefault(digest, []).append(number)
            stages[digest] = stage, above
    numbers = {digest: number for number, digest in enumerate(groups)}
    nodes = []
    for digest, group in groups.items():
        stage, above = stages[digest]
        upstream = tuple(sorted(numbers[one] for one in above))
        it = stage.declared
        nodes.append(Node(it.address, it.outs, it.metrics, it.meta, tuple(group), upstream, digest))
    return nodes


@dataclass(frozen=True)
class _Stage:
    declared: Declaration
    upstream: tuple[str, ...]
    text: str  # which is the same for the same declarations


def _graph(stages: Mapping[str, Declaration]) -> Iterator[_Stage]:
    upstream = {address: _upstream(stage, stages.values()) for address, stage in stages.items()}
    try:
        for address in TopologicalSorter(upstream).static_order():
            yield _Stage(stages[address], tuple(upstream[address]), repr(stages[address]))
    except CycleError as error:
        raise UserError(f"{DVC_FILE}: the stages need each other in a circle: {', '.join(error.args[1])}") from None


def _upstream(stage: Declaration, others: Iterable[Declaration]) -> list[str]:
    return [other.address for other in others if other is not stage and makes(other, stage)]


def _digest(stage: _Stage, params: Mapping[str, Any], above: Sequence[str]) -> str:
    it = stage.declared
    whole_file = str(PARAMS_FILE) in (*it.deps, *it.params_files)
    read = params if whole_file else [look_up(key, params) for key in it.params]
    # As Python writes them, so that 1, 1.0 and "1" are three values.
    return hashlib.sha256(repr((stage.text, read, above)).encode("utf-8", "surrogatepass")).hexdigest()
