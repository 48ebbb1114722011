"""Prefect's server behind a door: ``python -m flows.server.app HOST PORT``.

Prefect guards its API with the password. The door keeps out what a browser could be led to do: it refuses pages of
other origins, also their websockets, which no setting of Prefect covers, names that were made to point to this
machine, and being shown in a frame. Two pages of our own are beside Prefect's: flows/server/pages.py.
"""

import os
import sys
import threading
from types import FrameType
from urllib.parse import urlsplit

import prefect.settings
import uvicorn
from prefect.server.api.server import create_app
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from flows.machine.child import GRACE_SECONDS
from flows.server import pages
from flows.server.settings import reports

THIS_MACHINE = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


class SameOrigin:
    """Refuses what a page of another origin asks for, and keeps what is answered out of other pages."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request without an origin, as programs send it, and one of a page that came from here."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope) if scope["type"] in ("http", "websocket") else {}
        # The host is one of ours, which Starlette has made sure of; the port may be that of a tunnel.
        if headers.get("origin") is None or urlsplit(headers["origin"]).netloc == headers.get("host"):
            await self.app(scope, receive, send_with_headers)
        elif scope["type"] == "websocket":
            await WebSocketClose(reason="a page of another origin")(scope, receive, send)
        else:
            refusal = PlainTextResponse("a page of another origin may ask for nothing here", status_code=403)
            await refusal(scope, receive, send_with_headers)


def guarded_app(host: str) -> Starlette:
    """Return Prefect's server for those who reach it as ``host`` or on this machine."""
    inner = create_app(final=True)
    reports().mkdir(parents=True, exist_ok=True)
    # A part of the API, so that it asks for the password.
    inner.api_app.mount("/reports", StaticFiles(directory=reports()))  # type: ignore[attr-defined]
    return Starlette(
        routes=[
            Route("/enter", pages.enter),
            Route("/report/{run:uuid}", pages.report),
            Mount("/", inner),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=[host, *THIS_MACHINE], www_redirect=False),
            Middleware(SameOrigin),
        ],
        lifespan=inner.router.lifespan_context,
    )


class _Server(uvicorn.Server):
    """A server that ends when it is asked to, also where a connection or a service of Prefect does not."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end, and give it a while: nobody may be left who would do more than ask."""
        super().handle_exit(sig, frame)
        last = threading.Timer(GRACE_SECONDS, os._exit, (1,))
        last.daemon = True
        last.start()


def main() -> None:
    """Do as ``prefect server start`` does, with the door in front."""
    _, host, port = sys.argv
    server = prefect.settings.get_current_settings().server
    config = uvicorn.Config(
        guarded_app(host),
        host=host,
        port=int(port),
        timeout_keep_alive=server.api.keepalive_timeout,
        ws_ping_interval=server.api.websocket_ping_interval,
        ws_ping_timeout=server.api.websocket_ping_timeout,
        log_level=server.logging_level.lower(),
    )
    _Server(config).run()


if __name__ == "__main__":
    main()
