"""The stages of dvc.yaml as DVC resolves them, by their addresses, without importing DVC.

``foreach`` and ``matrix`` become one stage for each item, named as in ``ingest@mnist`` and ``pretrain@0``, and
``${block.key}`` becomes the value in params.yaml or under ``vars``: https://dvc.org/doc/user-guide/project-structure.
"""

import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.core.errors import UserError, nearest, shown
from tasks.yaml_files import DVC_FILE, PARAMS_FILE, read_yaml

_EXPRESSION = re.compile(r"(?<!\\)\$\{(.*?)\}")


@dataclass(frozen=True)
class Declaration:
    """A stage as dvc.yaml declares it, with all values filled in; paths are relative to the root.

    ``params`` are keys of params.yaml, and ``params_files`` further files in which the stage has parameters. ``outs``
    are all that it writes, ``metrics`` those that it lists as such.
    """

    address: str
    cmd: str
    params: tuple[str, ...]
    params_files: tuple[str, ...]
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    metrics: tuple[str, ...]
    meta: Any


def read_stages() -> dict[str, Declaration]:
    """Return the stages of dvc.yaml by their addresses, in its order; UserError where they cannot be resolved."""
    return resolve(read_dvc_file(), read_yaml(PARAMS_FILE))


def read_dvc_file() -> dict[str, Any]:
    """Return what dvc.yaml holds; UserError where that is no stages."""
    if DVC_FILE.is_file() and not DVC_FILE.stat().st_size:
        raise UserError(f"{DVC_FILE} is empty: bring it back, as with 'git checkout {DVC_FILE}'")
    raw = read_yaml(DVC_FILE)
    if not isinstance(raw.get("stages"), Mapping) or not raw["stages"]:
        raise UserError(f"{DVC_FILE} has no stages: bring them back, as with 'git checkout {DVC_FILE}'")
    return raw


def resolve(raw: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Declaration]:
    """Return the stages as :func:`read_stages` does, of what dvc.yaml and params.yaml hold."""
    found = _definitions(raw, params)
    return {address: _declare(address, definition, context) for address, definition, context in found}


def makes(maker: Declaration, user: Declaration) -> bool:
    """Say whether something that ``user`` depends on is made by ``maker``, lies in it, or has it in it."""
    return any(
        dep == out or dep.startswith(f"{out}/") or out.startswith(f"{dep}/") or dep == "."
        for dep in map(_normal, user.deps)
        for out in map(_normal, maker.outs)
    )


def read_declaration(address: str) -> Declaration:
    """Return the stage with this address; UserError if dvc.yaml has none."""
    stages = read_stages()
    if address not in stages:
        raise UserError(f"{DVC_FILE} has no stage '{address}'{nearest(address, stages)}")
    return stages[address]


def look_up(key: str, params: Mapping[str, Any]) -> Any:
    """Return the value of a dotted ``key`` of dvc.yaml; DVC would miss it only after the stage has run."""
    found = list(_found(key, params))
    if not found:
        raise UserError(f"{PARAMS_FILE}: the key '{key}' is missing, which {DVC_FILE} uses: add it")
    return found[0]


def _found(key: str, params: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the value of a dotted key, if there is one."""
    value: Any = params
    for part in _dotted(key).split("."):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            return
    yield value


def refuse_missing(raw: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Raise UserError with all keys that are read of params.yaml and not there; those of items are left to resolve."""
    context = _with_vars(params, raw.get("vars"), ".")
    definitions = [one.get("do", one) for one in raw["stages"].values() if isinstance(one, Mapping)]
    listed = [key for one in definitions if isinstance(one, Mapping) for key in one.get("params") or []]
    keys = [key for key in listed if isinstance(key, str) and "${" not in key]
    keys += [key for key in _EXPRESSION.findall(json.dumps(raw["stages"])) if not re.match(r"(item|key)\b", key)]
    missing = [key for key in dict.fromkeys(keys) if not list(_found(key, context))]
    if len(missing) > 1:
        raise UserError(
            f"{PARAMS_FILE}: the keys {', '.join(missing)} are missing, which {DVC_FILE} uses: add them, as "
            "configs/small.yaml has them"
        )


def _definitions(
    raw: Mapping[str, Any], params: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield the address, the definition and the values it may use, of each stage."""
    context = _with_vars(params, raw.get("vars"), ".")
    for name, definition in raw["stages"].items():
        where = f"{DVC_FILE}: the stage '{name}'"
        if not isinstance(definition, Mapping):
            raise UserError(f"{where} is {shown(definition)}, but must be a mapping with a cmd")
        if "foreach" in definition:
            if not isinstance(definition.get("do"), Mapping):
                raise UserError(f"{where} has foreach without do: put the stage itself under do")
            for key, added in _foreach(where, definition["foreach"], context):
                yield f"{name}@{key}", definition["do"], {**context, **added}
        elif "matrix" in definition:
            inner = {key: value for key, value in definition.items() if key != "matrix"}
            for key, added in _matrix(where, definition["matrix"], context):
                yield f"{name}@{key}", inner, {**context, **added}
        else:
            yield str(name), definition, context


def _with_vars(params: Mapping[str, Any], listed: Any, folder: str) -> Mapping[str, Any]:
    """Add what is listed under ``vars``: values, files in ``folder``, and keys of files as in ``other.yaml:a,b``."""
    context = params
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, Mapping):
            context = _merged(context, entry)
        else:
            file, _, keys = str(entry).partition(":")
            values = read_yaml(Path(_join(folder, file)))
            context = _merged(context, {key: look_up(key, values) for key in keys.split(",")} if keys else values)
    return context


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> Mapping[str, Any]:
    both = {key: _merged(first[key], second[key]) for key in second if _are_mappings(first.get(key), second[key])}
    return {**first, **second, **both}


def _are_mappings(*values: Any) -> bool:
    return all(isinstance(value, Mapping) for value in values)


def _foreach(where: str, given: Any, context: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    items = _fill_in(given, context)
    if isinstance(items, Mapping):
        yield from ((_text(key), {"key": _text(key), "item": item}) for key, item in items.items())
    elif isinstance(items, list):
        composite = any(isinstance(item, (Mapping, list)) for item in items)
        yield from ((str(n) if composite else _text(item), {"item": item}) for n, item in enumerate(items))
    else:
        raise UserError(f"{where} goes through {shown(items)} by foreach, which takes a list or a mapping: write one")


def _matrix(where: str, given: Any, context: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    axes = _fill_in(given, context)
    if not isinstance(axes, Mapping) or not all(isinstance(values, list) for values in axes.values()):
        raise UserError(f"{where} has the matrix {shown(axes)}, which takes a list for each name: write one")
    for chosen in itertools.product(*(enumerate(values) for values in axes.values())):
        named = list(zip(axes, chosen, strict=True))
        parts = [f"{name}{n}" if isinstance(item, (Mapping, list)) else _text(item) for name, (n, item) in named]
        yield "-".join(parts), {"key": "-".join(parts), "item": {name: item for name, (_, item) in named}}


def _declare(address: str, definition: Mapping[str, Any], context: Mapping[str, Any]) -> Declaration:
    where = f"{DVC_FILE}: the stage '{address}'"
    folder = str(_fill_in(definition.get("wdir"), context) or ".")
    context = _with_vars(context, definition.get("vars"), folder)
    stage = {key: _fill_in(value, context) for key, value in definition.items() if key != "vars"}
    if not isinstance(stage.get("cmd"), (str, list)):
        raise UserError(f"{where} has no cmd: say what it runs")
    paths = {kind: _paths(where, kind, folder, stage.get(kind)) for kind in ("deps", "outs", "metrics", "plots")}
    keys, files = [], []
    for entry in stage.get("params") or []:
        for file, listed in entry.items() if isinstance(entry, Mapping) else [(str(PARAMS_FILE), [str(entry)])]:
            file = _join(folder, str(file))
            if file == str(PARAMS_FILE) and listed:
                keys += [str(key) for key in listed]
            else:
                files.append(file)
    return Declaration(
        address=address,
        cmd=stage["cmd"] if isinstance(stage["cmd"], str) else "\n".join(map(str, stage["cmd"])),
        params=tuple(keys),
        params_files=tuple(dict.fromkeys(files)),
        deps=paths["deps"],
        outs=(*paths["outs"], *paths["metrics"], *paths["plots"]),
        metrics=paths["metrics"],
        meta=stage.get("meta"),
    )


def _paths(where: str, kind: str, folder: str, listed: Any) -> tuple[str, ...]:
    if not isinstance(listed or [], list):
        raise UserError(f"{where} has {shown(listed)} under {kind}, which takes a list of paths: write one")
    takes_settings = kind != "deps"  # as in {out.txt: {cache: false}}
    paths = [next(iter(it), "") if isinstance(it, Mapping) and takes_settings else it for it in listed or []]
    for path in paths:
        if not isinstance(path, str) or not path:
            raise UserError(f"{where} lists {shown(path)} under {kind}, which takes paths: write one, or leave it out")
    return tuple(_join(folder, path) for path in paths)


def _join(folder: str, path: str) -> str:
    if "://" in path:  # somewhere else than on this disk
        return path
    return path if folder == "." else os.path.normpath(os.path.join(folder, path))  # noqa: PTH118


def _normal(path: str) -> str:
    return path if "://" in path else os.path.normpath(path)


def _fill_in(value: Any, context: Mapping[str, Any]) -> Any:
    """Replace every ``${key}`` in a value of dvc.yaml; a text that is nothing else becomes the value itself."""
    if isinstance(value, Mapping):
        return {_fill_in(key, context): _fill_in(item, context) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill_in(item, context) for item in value]
    if not isinstance(value, str):
        return value
    if whole := _EXPRESSION.fullmatch(value):
        return look_up(whole[1], context)
    return _EXPRESSION.sub(lambda match: _text(look_up(match[1], context)), value).replace("\\${", "${")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, default=str) if isinstance(value, (Mapping, list)) else str(value)


def _dotted(key: str) -> str:
    return key.replace("[", ".").replace("]", "")
