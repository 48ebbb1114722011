"""What a stage's result is a function of: its command, its parameters and the content of its dependencies."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline_lib.core.errors import UserError
from tasks.declaration import Declaration, look_up
from tasks.hashes import Entry, hash_files
from tasks.yaml_files import DVC_FILE, PARAMS_FILE, read_yaml

Signature = dict[str, Entry]


def signature(declaration: Declaration, known: Mapping[str, Entry] | None = None) -> Signature:
    """Map each input of a stage to (a cheap stamp, a hash of its content).

    A file whose stamp is the one in ``known`` is not read again; without it, one that another stage has read is not.
    """
    raw = read_yaml(PARAMS_FILE)
    found: Signature = {"the command": (None, _hash_text(declaration.cmd))}
    for key in declaration.params:
        found[f"'{key}' in {PARAMS_FILE}"] = (None, _hash_text(json.dumps(_sorted(look_up(key, raw)))))
    # DVC looks at what is not on this disk.
    paths = [path for path in (*declaration.deps, *declaration.params_files) if "://" not in path]
    for path in paths:
        if not Path(path).exists():
            raise UserError(f"{path} is missing, which {DVC_FILE} lists as a dependency: put it there or name another")
    return found | hash_files(paths, known)


def fingerprint(inputs: Mapping[str, Entry]) -> str:
    """Return 16 hex digits that name a run by the content of all its inputs."""
    return _hash_text("\0".join([f"{key}\0{inputs[key][1]}" for key in sorted(inputs)]))[:16]


def _sorted(value: Any) -> Any:
    """Return a value that is the same whatever the order of its keys, and that JSON can hold whatever they are."""
    if isinstance(value, Mapping):
        return sorted([repr(key), _sorted(item)] for key, item in value.items())
    return [_sorted(item) for item in value] if isinstance(value, list) else repr(value)


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
