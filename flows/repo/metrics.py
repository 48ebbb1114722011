"""The metrics that stages leave, in every format that DVC reads: JSON, YAML, TOML."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.fs import localfs
from dvc.utils.flatten import flatten
from dvc.utils.serialize import load_path

from flows.repo.plan import PlannedStage
from pipeline_lib.core.errors import UserError, nearest


def read_metrics_file(path: Path) -> dict[str, Any]:
    """Return the metrics in a file, nested ones with dots, as DVC shows them; UserError where DVC cannot read it."""
    try:
        content = load_path(str(path), localfs)
    except (DvcException, OSError) as error:
        raise UserError(f"the metrics in {path} cannot be read: {' '.join(str(error).split())}") from None
    return dict(flatten(content)) if isinstance(content, Mapping) else {}


def refuse_unknown(drops: Iterable[str], plan: Sequence[PlannedStage]) -> None:
    """Raise UserError for a metric, named as in ``metrics/heads.json:loss``, that no stage leaves, before they run.

    Which keys a file will have is known where the last run left one.
    """
    files = [path for stage in plan for path in stage.metrics]
    for name in drops:
        file = next((path for path in files if name.startswith(f"{path}:")), None)
        if file is None:
            given = name.partition(":")[0]
            raise UserError(f"drops names {name}, but no stage has the metrics {given}{nearest(given, files)}")
        key, known = name.removeprefix(f"{file}:"), {}
        with suppress(UserError):  # not there yet, or cut short: its stage makes it anew
            known = read_metrics_file(Path(file))
        if known and key not in known:
            raise UserError(f"drops names {name}, but {file} has no {key}{nearest(key, known)}")
