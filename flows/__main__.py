"""The command line: ``graftline <command>``, which is ``python -m flows <command>``."""

import os
import sys
from importlib import import_module
from pathlib import Path

from pipeline_lib.core.errors import UserError, nearest

PROJECT = Path("dvc.yaml")
COMMANDS = {
    "run": ("flows.run", "run what is out of date of the pipeline, and print its verdict"),
    "check": ("tasks.check", "check params.yaml and dvc.yaml within seconds"),
    "rank": ("flows.rank", "say which dataset and which encoder suit the target, before any training"),
    "plan": ("flows.repo.plan", "list every stage with what will become of it, and why; runs nothing"),
    "flow": ("flows.pipeline", "run it through Prefect: a task a stage, with metrics and the map as artifacts"),
    "ui": ("flows.server.serve", "serve the flow and Prefect's UI, and print the address"),
    "worker": ("flows.server.worker", "run the flow for the server that PREFECT_API_URL names"),
    "sweep": ("flows.sweep.cli", "try combinations of settings, and compare them"),
    "verdict": ("tasks.verdict", "print the verdict of the last run, and where its report is"),
    "predict": ("tasks.predict", "say what the model makes of a folder of new pictures"),
    "export": ("tasks.export", "write the model as ONNX, with a card that says what it is"),
}
# What needs no project but a model.
ANYWHERE = ("predict", "export")


def main() -> None:
    """Run the command that the first argument names, or list them all."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in ("--help", "-h"):
        lines = [f"  {name:8} {line}" for name, (_, line) in COMMANDS.items()]
        print("\n".join(["usage: graftline <command> ...", "", *lines, "", "<command> --help says more of one."]))
        return
    from tasks.stage import guarded  # takes longer than the list of commands should

    guarded(lambda: _run(command))


def _run(command: str) -> None:
    if command not in COMMANDS:
        raise UserError(f"there is no command '{command}'{nearest(command, COMMANDS) or ': graftline lists them all'}")
    if not PROJECT.exists() and command not in ANYWHERE:
        raise UserError(f"this folder has no {PROJECT}, so it is no project: change to a clone of graftline")
    # The commands in dvc.yaml say `python`: this is the one they get.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    # The name in the help of the command, which Python 3.14 would make of the module otherwise.
    sys.argv[:2] = [f"graftline {command}"]
    sys.modules["__main__"].__spec__ = None
    import_module(COMMANDS[command][0]).main()


def script() -> None:
    """Do what ``python -m flows`` does, with the code of the project that this folder is before that installed."""
    if PROJECT.exists():
        os.execv(sys.executable, [sys.executable, "-m", "flows", *sys.argv[1:]])  # noqa: S606
    main()


if __name__ == "__main__":
    main()
