"""Serve the flow and Prefect's UI on this machine, until Ctrl-C."""

import argparse
from contextlib import suppress

from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.types.entrypoint import EntrypointType

from flows.server import served, ui_address
from flows.transfer import transfer
from pipeline_lib.core.progress import say
from tasks.stage import guarded

PORT = 4200


def main() -> None:
    """Start the server and wait for runs of the flow that are asked for in the UI, one at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help=f"of the UI, on this machine only (default: {PORT})")
    port = parser.parse_args().port
    say("starting Prefect's server")
    with served(port) as url, temporary_settings({PREFECT_API_URL: url}):
        say(f"Prefect's UI is at {ui_address(url)}\nCtrl-C ends it")
        transfer.serve(name="here", limit=1, entrypoint_type=EntrypointType.MODULE_PATH, print_starting_message=False)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        guarded(main)
