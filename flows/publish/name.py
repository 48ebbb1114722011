"""The name and the tags of a run, by which a person finds it again."""

from collections.abc import Iterable
from uuid import UUID

from coolname.data import config as coolname_lists
from prefect import get_client
from prefect.runtime import flow_run

# Of which Prefect makes the names of runs.
_WORDS = {word for part in coolname_lists.values() if isinstance(part, dict) for word in part.get("words", ())}


def name_run(name: str, tags: Iterable[str]) -> None:
    """Give this run a name, unless somebody gave it one already, and tags beside those that it has."""
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(flow_run.get_id()))
        kept = run.name if set(run.name.split("-")) - _WORDS else name
        client.update_flow_run(run.id, name=kept, tags=[*dict.fromkeys([*run.tags, *tags])])
