"""Measure what it costs a stage to know what it depends on: many small files and a few large ones.

``python -m benchmarks.hashing`` writes ``--files`` files of 1 kB and ``--gigabytes`` in files of 256 MB into a
temporary folder, and hashes them as a stage does that depends on it: the first time, when all of them are read
(`first_s`), and as each further stage does, before it runs and at its end, together (`again_s`, the median). It ends
with both in seconds as one line of JSON. ``--save`` writes results/hashing.json, with what both cost DVC: the md5 of
all files by `dvc add`, and `dvc status` after it, each less the time that DVC takes to start.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.scratch import LEAST_PARAMS, ROOT, environment
from pipeline_lib.core.files import write_json
from pipeline_lib.core.progress import say
from tasks.declaration import Declaration
from tasks.hashes import SETTLED
from tasks.signature import fingerprint, signature

RESULT_FILE = ROOT / "benchmarks/results/hashing.json"
AIM = 1.0  # s, of each further stage
SMALL, LARGE = 1000, 2**28  # bytes
IN_FOLDER = 1000  # files
STAGE = Declaration("stage", "python -m tasks.stage", (), (), ("data",), (), (), None)


def main() -> None:
    """Measure, and print the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000, help="how many files of 1 kB")
    parser.add_argument("--gigabytes", type=float, default=10.0, help="of files of 256 MB")
    parser.add_argument("--folder", type=Path, help="where to write them for the time being")
    parser.add_argument("--repeats", type=int, default=5, help="how often they are hashed again")
    parser.add_argument("--save", action="store_true", help=f"write {RESULT_FILE.relative_to(ROOT)}")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as temporary:
        os.chdir(temporary)
        Path("params.yaml").write_text(LEAST_PARAMS.format(seed=0, file="params.yaml"), encoding="utf-8")
        shutil.copy(ROOT / ".dvcignore", ".dvcignore")
        write_files(chosen.files, round(chosen.gigabytes * 10**9))
        say(f"{chosen.files} files of 1 kB and {chosen.gigabytes:g} GB in larger ones")
        time.sleep(SETTLED / 10**9)  # younger ones would be read again
        first, again = measure(chosen.repeats)
        result = {"first_s": round(first, 2), "again_s": round(statistics.median(again), 2)}
        if chosen.save:
            each = [round(seconds, 2) for seconds in again]
            about = {"files": chosen.files, "gigabytes": chosen.gigabytes, "aim_again_s": AIM, "again_each_s": each}
            write_json(RESULT_FILE, {**result, **about, "dvc": measure_dvc(Path.cwd()), "machine": machine()})
        os.chdir(ROOT)
    print(json.dumps(result))


def write_files(num_small: int, num_bytes: int) -> None:
    """Write small files into folders of 1000, and one of large files; none has a hole, or the content of another."""
    for number in range(num_small):
        folder = Path(f"data/small/{number // IN_FOLDER}")
        if number % IN_FOLDER == 0:
            folder.mkdir(parents=True)
        (folder / f"{number}.bin").write_bytes(os.urandom(SMALL))
    Path("data/large").mkdir(parents=True)
    for number, start in enumerate(range(0, num_bytes, LARGE)):
        with Path(f"data/large/{number}.bin").open("wb") as file:
            for place in range(start, min(start + LARGE, num_bytes), 2**24):
                file.write(os.urandom(min(2**24, num_bytes - place)))


def measure(repeats: int) -> tuple[float, list[float]]:
    """Return the seconds of hashing all for the first time, and of what each further stage does."""

    def stage() -> None:
        before = signature(STAGE)
        fingerprint(before)
        if signature(STAGE, before) != before:
            raise RuntimeError("the files changed")

    first = _time(lambda: fingerprint(signature(STAGE)))
    say(f"first: {first:.2f} s")
    again = [_time(stage) for _ in range(repeats)]
    say(f"again: {', '.join(f'{seconds:.2f}' for seconds in again)} s")
    return first, again


def measure_dvc(folder: Path) -> dict[str, float]:
    """Return the seconds in which DVC hashes the same, and sees that nothing changed."""

    def dvc(*command: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "dvc", *command], env=environment(folder), check=True, capture_output=True
        )

    dvc("init", "--no-scm", "--quiet")
    dvc("config", "cache.type", "hardlink,symlink")
    start = min(_time(lambda: dvc("status")) for _ in range(3))
    first = _time(lambda: dvc("add", "--no-commit", "data"))
    again = min(_time(lambda: dvc("status")) for _ in range(3))
    return {"first_s": round(first - start, 2), "again_s": round(again - start, 2)}


def _time(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
