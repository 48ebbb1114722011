"""A headless Chromium, and a page of another origin that tries in it what benchmarks/attack.py is about."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--virtual-time-budget=20000",
)  # fmt: skip
# What a page of another origin does. It writes down what it could read, or that it was let in.
PAGE = """<!doctype html><title>evil</title><body><script>
const {base, create, deploy, password, run, step} = DATA;
const json = {"Content-Type": "application/json"}, text = {"Content-Type": "text/plain"};
const known = {Authorization: "Basic " + btoa(password)};
const ask = (path, body, headers, mode) =>
  fetch(base + path, {method: "POST", headers, mode, body: JSON.stringify(body)}).then(answer => answer.ok);
const socket = path => new Promise(done => {
  const open = new WebSocket(base.replace("http", "ws") + path, ["prefect"]);
  open.onopen = () => open.send(JSON.stringify({type: "auth", token: password}));
  open.onmessage = () => done(true);
  open.onerror = open.onclose = () => done(false);
});
const tries = {
  "reads": () => ask("/api/deployments/filter", {}, json, "cors"),
  "reads with the password": () => ask("/api/deployments/filter", {}, {...json, ...known}, "cors"),
  "asks for a run blindly": () => ask(create, run, text, "no-cors"),
  "asks for a run with the password": () => ask(create, run, {...json, ...known}, "cors"),
  "makes a deployment blindly": () => ask(deploy, step, text, "no-cors"),
  "opens a websocket with the password": () => socket("/api/events/out"),
  "reads the page in a frame": () => new Promise(done => {
    const frame = document.createElement("iframe");
    frame.onload = () => { try { done(frame.contentDocument.body.innerText.length > 0) } catch { done(false) } };
    frame.src = base + "/";
    document.body.append(frame);
  }),
};
Promise.all(Object.entries(tries).map(([name, act]) => act().catch(() => false).then(done => [name, done])))
  .then(all => document.body.textContent = "tried " + JSON.stringify(Object.fromEntries(all)));
</script>"""


def dumped(browser: str, profile: str, url: str) -> str:
    """Return the page at ``url`` as it is once its scripts have run."""
    command = [browser, *OPTIONS, f"--user-data-dir={profile}", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@contextmanager
def served_page(content: str) -> Iterator[int]:
    """Serve a page to a browser on this machine, and yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
