"""The stages of the projects in which benchmarks.kill_matrix kills: ``python stages.py <address>``.

``count`` goes through many steps, of which each needs the one before, and keeps a checkpoint of every fifth. It
writes down what it does in ``notes`` and waits, at the moments that are named in ``hold``, until it is killed. Both are
in the folder that ``KILL_NOTES`` names, since the combinations of a sweep run in folders of their own.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from pipeline_lib.core.files import atomic, read_json, write_json
from tasks.stage import Stage, main

STEPS, MIDDLE = 40, 22
PARTS, PART_BYTES = 8, 4_000_000
NOTES, HOLD = (Path(os.environ.get("KILL_NOTES", "."), name) for name in ("notes", "hold"))


def note(what: str) -> None:
    """Write down what this process does, and wait if it is to be killed now."""
    with NOTES.open("a", encoding="utf-8") as notes:
        print(os.getpid(), what, file=notes)
    while HOLD.exists() and HOLD.read_text(encoding="utf-8") == what:
        time.sleep(0.01)


def count(stage: Stage) -> None:
    """Go on from the last checkpoint, and write what the steps came to, 32 MB, part by part."""
    done, state = 0, str(stage.params.seed)
    checkpoint = stage.checkpoints / "last.json"
    if checkpoint.exists():
        done, state = read_json(checkpoint)
    note(f"began at {done}")
    note("started")
    for step in range(done, STEPS):
        state = hashlib.sha256(f"{state} {step}".encode()).hexdigest()
        print(json.dumps({"event": "progress", "label": "steps", "done": step + 1, "total": STEPS}), flush=True)
        if (step + 1) % 5 == 0:
            with atomic(checkpoint) as partial:
                write_json(partial, [step + 1, state])
        if step == MIDDLE:
            note("middle")
        time.sleep(0.02)
    with stage.output("out/count.bin").open("wb") as file:
        for part in range(PARTS):
            file.write(hashlib.shake_256(f"{state} {part}".encode()).digest(PART_BYTES))
            if part == PARTS // 2:
                note("writing")
    note("ending")


def after(stage: Stage) -> None:
    """Write down what ``count`` left, so that half of it would show here too."""
    digest = hashlib.sha256(Path("out/count.bin").read_bytes()).hexdigest()
    write_json(stage.output("out/after.json"), {"digest": digest, "letters": sum(map(ord, digest))})


def beside(stage: Stage) -> None:
    """Run beside ``count``, and record itself in DVC while that one runs."""
    stage.output(f"out/{stage.address.replace('@', '-')}.txt").write_text(str(stage.params.device))


if __name__ == "__main__":
    kind = sys.argv[1].partition("@")[0]
    main(sys.argv[1], {"count": count, "after": after, "beside": beside}[kind])
