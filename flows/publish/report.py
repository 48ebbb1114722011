"""Pages of a run, kept with it, so that the UI opens them from wherever the browser is."""

from pathlib import Path
from uuid import UUID, uuid5

from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.runtime import flow_run

from flows.server.settings import is_own, reports
from pipeline_lib.core.files import atomic

MOST_PAGES = 200


def publish_page(path: Path, key: str) -> None:
    """Publish the page at ``path`` as a link in the UI of this project's own server, or where it is for another."""
    if not is_own():
        text = f"`{path.resolve()}`, on the machine that ran it"
        create_markdown_artifact(text, key=key, description=f"{path.name}, to open in a browser")
        return
    # The server shows nothing whose name is not a UUID: each page of a run has its own.
    name = uuid5(UUID(str(flow_run.get_id())), path.name)
    kept = sorted(reports().glob("*.html"), key=lambda file: file.stat().st_mtime, reverse=True)
    for old in kept[MOST_PAGES - 1 :]:
        old.unlink(missing_ok=True)
    with atomic(reports() / f"{name}.html") as partial:
        partial.write_bytes(path.read_bytes())
    create_link_artifact(f"/report/{name}", link_text=str(path), key=key, description=f"Kept with the run: {path}")
