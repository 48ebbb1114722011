"""Prefect runs what DVC declares.

Prefect reads its settings when it is imported, so they are set here: nothing phones home, and the runs are
recorded under .graftline of this project, apart from a Prefect that the user has already, unless they name it.
"""

import os
from pathlib import Path

OWN_HOME = Path.cwd() / ".graftline" / "prefect"

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
# The UI asks the server that it came from, whatever the port and however it is forwarded.
os.environ.setdefault("PREFECT_SERVER_UI_API_URL", "/api")
# The second version of the UI asks a service on the internet for its settings at every load.
os.environ.setdefault("PREFECT_SERVER_UI_V2_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT", "false")
# How long a stage that waits for the GPU sleeps between two tries: 30 s would leave the GPU idle in between.
os.environ.setdefault("PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS", "1")
# A run of which the server hears nothing for a while was killed: flows/server/killed.py.
os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
# Four tries within 14 s: a server that restarts is back by then, and for a lost one nobody should wait minutes.
os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "3")
if "PREFECT_SERVER_API_AUTH_STRING" in os.environ:
    os.environ.setdefault("PREFECT_API_AUTH_STRING", os.environ["PREFECT_SERVER_API_AUTH_STRING"])
if "PREFECT_API_URL" not in os.environ:
    os.environ.setdefault("PREFECT_HOME", str(OWN_HOME))
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
