"""The datasets of both roles as params.yaml names them."""

from collections.abc import Sequence
from pathlib import Path

from pipeline_lib.data.roles import Role, read_roles
from tasks.params import Params

DATASETS = Path("datasets")


def read_both(
    params: Params, labels: Sequence[str] = (), target_labels: Sequence[str] | None = None
) -> tuple[Role, Role]:
    """Read source and target with only the named labels; see :func:`~pipeline_lib.data.roles.read_roles`."""
    return read_roles(DATASETS, params.source, params.target, labels, target_labels)
