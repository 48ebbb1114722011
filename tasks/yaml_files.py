"""params.yaml and dvc.yaml as mappings: whatever is wrong with such a file is one sentence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from pipeline_lib.core.errors import UserError

DVC_FILE, PARAMS_FILE = Path("dvc.yaml"), Path("params.yaml")
MOST_VALUES = 1_000_000  # with every alias written out: a few lines of aliases of aliases can stand for more than fits


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping as YAML 1.2, as DVC does (PyYAML would read 1e-3 as a string)."""
    text = _read_text(path)
    try:
        value = YAML(typ="safe", pure=True).load(text)
        num_values = _num_values(value, {})
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        problem = " ".join(str(error.problem or error.context).split())
        raise UserError(f"{path}, line {line}: not valid YAML ({problem}); mend that line") from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(
            f"{path}, line {line}: a character that no one can see (number {ord(text[error.position])}) is not valid "
            "YAML: type that line anew"
        ) from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply, or holds itself by an alias: write it flatter") from None
    except Exception as error:  # such as the 30th of February: ruamel passes on what a value breaks on
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())}); mend it") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a mapping of blocks, one per stage")
    if num_values > MOST_VALUES:
        raise UserError(f"{path} stands for more than {MOST_VALUES} values by its aliases: write it without them")
    return value


def _read_text(path: Path) -> str:
    try:
        if not path.exists():
            raise UserError(f"{path} is missing here: run from the root of the project")
        if not path.is_file():  # a pipe would be waited for without an end
            raise UserError(f"{path} is no file: move it away, and put a file there")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): see to its permissions") from None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8") from None


def _num_values(value: Any, known: dict[int, int]) -> int:
    """Count the values in ``value`` as if every alias was written out; RecursionError where one holds itself."""
    if not isinstance(value, (Mapping, list)):
        return 1
    if id(value) in known:
        if not known[id(value)]:
            raise RecursionError
        return known[id(value)]
    known[id(value)] = 0  # while it is being counted
    inner = value.values() if isinstance(value, Mapping) else value
    known[id(value)] = 1 + sum(_num_values(item, known) for item in inner)
    return known[id(value)]
