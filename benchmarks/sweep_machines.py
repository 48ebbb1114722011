"""A sweep whose stages run on three workers: does each different stage run exactly once, and how much faster is it?

The workers know nothing of Prefect's server but its address and password, each has a clone and a home of its own, and
between them there is a DVC remote. ``python -m benchmarks.sweep_machines`` runs 24 combinations of made-up stages, and
ends with one line of JSON: how many stages were executed, how many different ones there are, how many were executed
``twice`` and how many combinations were ``lost``, and the seconds with all workers and with one. ``--quick`` takes 6
combinations, and all workers only.
"""

import argparse
import json
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.scratch import LEAST_PARAMS, ROOT, environment
from benchmarks.second_clone import SERVER
from pipeline_lib.core.progress import say

WORKERS = 3
TIMEOUT = 1800  # seconds, for a sweep
# Each waits for SECONDS, as a training would keep a machine busy, and leaves a line for each time that it is started.
SECONDS = 4
CODE = f"""
import json, os, sys, time
from pathlib import Path
name, *above = sys.argv[1:]
key = "seed:" if name == "first" else "epochs:"
settings = [line.strip() for line in Path("params.yaml").read_text().splitlines() if line.strip().startswith(key)]
text = " ".join([name, *settings, *(Path(f"{{one}}.txt").read_text() for one in above)])
with Path(os.environ["STARTS"]).open("a") as starts:
    print(json.dumps([name, text]), file=starts)
time.sleep({SECONDS})
Path(f"{{name}}.txt").write_text(text)
if name == "last":
    Path("last.json").write_text(json.dumps({{"letters": sum(map(ord, text))}}))
"""
DVC = """stages:
  first: {cmd: python code.py first, deps: [code.py], params: [seed], outs: [first.txt]}
  middle: {cmd: python code.py middle first, deps: [code.py, first.txt], params: [heads.epochs], outs: [middle.txt]}
  last:
    cmd: python code.py last middle
    deps: [code.py, middle.txt]
    params: [heads.epochs]
    outs: [last.txt]
    metrics: [last.json]
"""


def main() -> None:
    """Measure, print the line, and exit with 1 if a stage was executed twice or not at all."""
    # A program that a shell starts in the background ignores SIGINT, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="6 combinations, and all workers only")
    quick = parser.parse_args().quick
    seeds, epochs = (2, 3) if quick else (4, 6)
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(Path(temporary) / "all", WORKERS, seeds, epochs)
        if not quick:
            alone = measure(Path(temporary) / "one", 1, seeds, epochs)
            found |= {"seconds_alone": alone["seconds"], "speed_up": round(alone["seconds"] / found["seconds"], 2)}
    print(json.dumps(found))
    raise SystemExit(bool(found["twice"] or found["lost"] or found["executed"] != found["different_stages"]))


def measure(folder: Path, workers: int, seeds: int, epochs: int) -> dict[str, Any]:
    """Run a sweep over ``seeds`` and ``epochs`` with as many ``workers``, and return the result."""
    main_clone = _project(folder)
    password = f"graftline:{secrets.token_hex(16)}"
    secret = {"PREFECT_SERVER_API_AUTH_STRING": password, "PREFECT_API_AUTH_STRING": password}
    say("starting a server with a password")
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        cwd=main_clone,
        env={**_environment(folder, "server"), **secret, "PREFECT_HOME": str(folder / "server/prefect")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    running: list[subprocess.Popen[str]] = []
    try:
        url = next(line.strip() for line in server.stdout or () if line.startswith("http"))
        known = {"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": password}
        mine = {**_environment(folder, "home"), **known}
        pool = [sys.executable, "-m", "prefect", "work-pool", "create", "machines", "--type", "process"]
        subprocess.run(pool, cwd=main_clone, env=mine, check=True, stdout=subprocess.DEVNULL)
        running += [_worker(folder, number, main_clone, known) for number in range(workers)]
        command = [sys.executable, "-m", "flows.sweep.cli", "--name", "trial", "--pool", "machines"]
        for key, values in (("seed", range(seeds)), ("heads.epochs", range(1, epochs + 1))):
            command += ["--set", f"{key}={','.join(map(str, values))}"]
        say(f"{seeds * epochs} combinations on {workers} workers")
        began = time.monotonic()
        command += ["--metric", "last.json:letters"]
        subprocess.run(command, cwd=main_clone, env=mine, check=True, timeout=TIMEOUT)
        seconds = round(time.monotonic() - began, 1)
    finally:
        for worker in running:
            worker.send_signal(signal.SIGINT)
        for worker in running:
            worker.wait(120)
        server.communicate("")
    starts = Counter((folder / "starts").read_text().splitlines())
    return {
        "workers": workers,
        "executed": starts.total(),
        "different_stages": seeds + 2 * seeds * epochs,
        "twice": sum(count - 1 for count in starts.values()),
        "lost": seeds * epochs - len(_experiments(main_clone)),
        "seconds": seconds,
    }


def _project(folder: Path) -> Path:
    """Make a project that is committed, with a remote."""
    project = folder / "main"
    project.mkdir(parents=True)
    (project / "code.py").write_text(CODE)
    (project / "dvc.yaml").write_text(DVC)
    (project / "params.yaml").write_text(f"{LEAST_PARAMS.format(seed=0, file='code.py')}heads:\n  epochs: 1\n")
    (project / ".gitignore").write_text(".graftline/\n__pycache__/\n")
    for part in ("flows", "tasks", "pipeline_lib"):
        shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
    env = _environment(folder, "home")
    for command in (
        ["git", "init", "--quiet"],
        ["git", "config", "--global", "user.name", "benchmark"],
        ["git", "config", "--global", "user.email", "benchmark@localhost"],
        [sys.executable, "-m", "dvc", "init", "--quiet"],
        [sys.executable, "-m", "dvc", "remote", "add", "-q", "-d", "shared", str(folder / "remote")],
        ["git", "add", "-A"],
        ["git", "commit", "--quiet", "-m", "benchmark"],
    ):
        subprocess.run(command, cwd=project, env=env, check=True)
    return project


def _environment(folder: Path, home: str) -> dict[str, str]:
    """Return an environment with a home of its own, in which nothing says where a Prefect server is."""
    (folder / home).mkdir(exist_ok=True)
    kept = {name: value for name, value in environment(folder / home).items() if not name.startswith("PREFECT_")}
    own = {"HOME": str(folder / home), "STARTS": str(folder / "starts")}
    return {**kept, **own, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def _worker(folder: Path, number: int, origin: Path, known: dict[str, str]) -> subprocess.Popen[str]:
    """Start a worker in a clone and with a home of its own; it runs one stage at a time, as a machine with a GPU."""
    clone = folder / f"clone-{number}"
    subprocess.run(["git", "clone", "--quiet", str(origin), str(clone)], check=True)
    env = {**_environment(folder, f"home-{number}"), **known, "PREFECT_WORKER_QUERY_SECONDS": "2"}
    env["GRAFTLINE_CLONE"] = str(clone)
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "machines", "--limit", "1"]
    return subprocess.Popen(command, cwd=clone, env=env, stdout=subprocess.DEVNULL, text=True)


def _experiments(project: Path) -> list[str]:
    command = ["git", "for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps"]
    refs = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout.split()
    return [name for name in refs if name.startswith("trial-")]


if __name__ == "__main__":
    main()
