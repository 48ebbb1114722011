"""Count what tries to leave this machine while the pipeline is planned, run, scheduled and watched.

``python -m benchmarks.outbound`` starts `python -m flows.server.serve` in a copy of the project, reads its UI as a
browser does, prints the plan, runs the flow at the setting of ``--params``, and once more with nothing to do. Every
Python in it, also DVC's, Prefect's and that of each stage, writes down the names that it looks up and the addresses
that it connects or sends to. It ends with one line of JSON: how many of them are not this machine (``connections``) and
which (``destinations``). Links to other hosts that the UI loads count too. Not seen is what a C library sends without
Python's sockets, and what the UI's scripts would ask for once they run.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from benchmarks.graphs import flow_environment
from benchmarks.scratch import ROOT, copy_project
from flows.server.start import answers
from pipeline_lib.core.progress import say

# Python imports it at its start, before anything else can connect.
HOOK = """
import json, os, sys

def _write_down(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"):
        address = arguments[0]
    else:
        return
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    line = json.dumps({"event": event, "host": host, "by": sys.argv[:3] if hasattr(sys, "argv") else []}) + "\\n"
    file = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, line.encode())
    os.close(file)

sys.addaudithook(_write_down)
"""
LOADED = re.compile(r"""(?:src|href)=["']?([^"'\s>]+)|url\(["']?([^"')]+)|@import\s+["']([^"']+)""")
START_SECONDS = 300


def main() -> None:
    """Measure, print the line, and exit with 1 if anything tried to leave this machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=ROOT / "configs/small.yaml", help="the setting to run")
    params = parser.parse_args().params
    # A shell lets what it starts in the background ignore Ctrl-C, and so would flows.server.serve.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "project"
        project.mkdir()
        copy_project(project, params)
        (project / "prefect.yaml").write_text((ROOT / "prefect.yaml").read_text(encoding="utf-8"), encoding="utf-8")
        log, environment = listen(Path(temporary) / "hook", flow_environment(project, None))
        with served(project, environment) as address:
            pages, links = read_pages(address)
            say(f"{pages} files of the UI are read")
            for module in ("flows.repo.plan", "flows.pipeline", "flows.pipeline"):
                say(f"{module} runs")
                command = [sys.executable, "-m", module]
                subprocess.run(command, cwd=project, env=environment, stdout=subprocess.DEVNULL, check=True)
        calls = heard(log)
    away = [call for call in calls if not is_local(call["host"])]
    for call in away:
        say(f"{call['event']} {call['host']} by {' '.join(call['by'])}")
    destinations = sorted({str(call["host"]) for call in away} | set(links))
    result = {"connections": len(away) + len(links), "destinations": destinations}
    print(json.dumps({**result, "local": len(calls) - len(away), "pages": pages}))
    raise SystemExit(bool(result["connections"]))


def listen(folder: Path, environment: Mapping[str, str]) -> tuple[Path, dict[str, str]]:
    """Return the file in which every Python with the environment, also returned, writes down whom it calls."""
    folder.mkdir()
    log = folder / "calls.jsonl"
    (folder / "sitecustomize.py").write_text(f"LOG = {str(log)!r}\n{HOOK}", encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(folder), environment.get("PYTHONPATH")]))
    return log, {**environment, "PYTHONPATH": path}


def heard(log: Path) -> list[dict[str, Any]]:
    """Return what was written down: the audit event of Python, the host and the command."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [json.loads(line) for line in lines]


def is_local(host: str | None) -> bool:
    """Say whether ``host`` is this machine: no name, its own, the loopback, a path of a socket."""
    if not host or host.startswith(("/", "\0")) or host in ("localhost", "::1", "::", "0.0.0.0", socket.gethostname()):  # noqa: S104
        return True
    return re.fullmatch(r"(::ffff:)?127(\.\d+){3}", host) is not None


def read_pages(address: str) -> tuple[int, list[str]]:
    """Read a page and all that it loads from its own server; return how many files, and the links to other hosts."""
    waiting, seen, away = [address], set(), set()
    while waiting:
        url = waiting.pop()
        seen.add(url)
        answer = httpx.get(url, follow_redirects=True, timeout=60)
        if url == address:
            answer.raise_for_status()
        if not re.search("html|css", answer.headers.get("content-type", "")):
            continue
        for link in loaded(answer.text, str(answer.url)):
            if urlsplit(link).netloc != urlsplit(address).netloc:
                away.add(link)
            elif link not in seen:
                waiting.append(link)
    return len(seen), sorted(away)


def loaded(text: str, base: str) -> set[str]:
    """Return the addresses that a page or a style sheet at ``base`` loads."""
    found = (next(filter(None, match)) for match in LOADED.findall(text))
    return {link for name in found if (link := urljoin(base, name).partition("#")[0]).startswith("http")}


@contextmanager
def served(project: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run `python -m flows.server.serve` until Ctrl-C, and yield the address of its UI when its worker runs too."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "flows.server.serve", "--port", str(port)]
    with (project / "serve.log").open("w") as log:
        process = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
        try:
            _wait_for_worker(process, f"http://127.0.0.1:{port}/api", project / "serve.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def _wait_for_worker(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if answers(url) and "Worker" in log.read_text(encoding="utf-8"):
            return
        time.sleep(0.5)
    raise RuntimeError(f"flows.server.serve did not start: {log.read_text(encoding='utf-8')}")


if __name__ == "__main__":
    main()
