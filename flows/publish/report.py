"""The report of a run, kept with it, so that the UI opens it from wherever the browser is."""

from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.runtime import flow_run

from flows.server.settings import is_own, reports
from pipeline_lib.core.files import atomic

MOST_REPORTS = 100


def publish_report(path: Path, key: str) -> None:
    """Publish the report at ``path`` as a link in the UI of this project's own server, or where it is for another."""
    if not is_own():
        text = f"`{path.resolve()}`, on the machine that ran it"
        create_markdown_artifact(text, key=key, description="The report, to open in a browser")
        return
    run = str(flow_run.get_id())
    kept = sorted(reports().glob("*.html"), key=lambda file: file.stat().st_mtime, reverse=True)
    for old in kept[MOST_REPORTS - 1 :]:
        old.unlink(missing_ok=True)
    with atomic(reports() / f"{run}.html") as partial:
        partial.write_bytes(path.read_bytes())
    create_link_artifact(f"/report/{run}", link_text=str(path), key=key, description=f"Kept with the run: {path}")
