"""The stages of the toy project: `python toy.py <stage>` writes down its inputs, and misbehaves when it is told to.

The file `told-<stage>` tells it: an exit code, or `wait`. Every start leaves a line in `starts-<stage>`, which is in
the folder STARTS if the environment names one.
"""

import json
import os
import sys
import time
from pathlib import Path

INPUTS = {"start": (), "left": ("start",), "right": ("start",), "join": ("left", "right"), "alone": ()}


def main(name: str) -> None:
    with Path(os.environ.get("STARTS", "."), f"starts-{name}").open("a") as starts:
        print(os.getpid(), file=starts)
    told = Path(f"told-{name}").read_text().strip() if Path(f"told-{name}").exists() else ""
    if told == "wait":
        time.sleep(60)
    if told == "2":
        print(f"error: {name} cannot work with this: mend it", file=sys.stderr)
    elif told:
        print(f"ValueError: {name} broke", file=sys.stderr)
    if told:
        raise SystemExit(int(told))
    for done in (1, 2):
        print(json.dumps({"event": "progress", "label": name, "done": done, "total": 2, "metrics": {"loss": 1 / done}}))
    values = [
        line for line in Path("params.yaml").read_text().splitlines() if line.strip().startswith(f"{KEYS[name]}:")
    ]
    text = "".join([f"{name}\n", *values, *(Path(f"out/{above}.txt").read_text() for above in INPUTS[name])])
    Path("out").mkdir(exist_ok=True)
    Path(f"out/{name}.txt").write_text(text)
    if name == "join":
        Path("metrics").mkdir(exist_ok=True)
        Path("metrics/join.json").write_text(json.dumps({"letters": len(text), "nothing": None}))


KEYS = {"start": "seed", "left": "epochs", "right": "device", "join": "title", "alone": "repeats"}

if __name__ == "__main__":
    main(sys.argv[1])
