"""The datasets of both roles as params.yaml names them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline_lib.data.roles import Role, read_roles
from tasks.blocks.shared import Roles

DATASETS = Path("datasets")


def read_both(
    params: Roles, labels: Sequence[str] = (), target_labels: Sequence[str] | None = None
) -> tuple[Role, Role]:
    """Read source and target with only the named labels; see :func:`~pipeline_lib.data.roles.read_roles`."""
    return read_roles(DATASETS, params.source, params.target, labels, target_labels)


def framing(*roles: Role) -> dict[str, Any]:
    """Return how the images of each dataset were framed, which a model needs to be used on a new file."""
    return {name: {**card["framing"], "size": card["shape"][1]} for role in roles for name, card in role.cards.items()}
