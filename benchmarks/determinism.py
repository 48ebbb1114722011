"""Run the pipeline twice, each time from nothing, and compare every byte of what it leaves.

``python -m benchmarks.determinism`` takes the embedded images at the small setting of configs/small.yaml and
ends with one line of JSON: whether the outputs are identical, and the paths of those that are not.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.scratch import ROOT, copy_project, differing, environment


def main() -> None:
    """Measure, print the line, and exit with 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=ROOT / "configs/small.yaml", help="the setting to run")
    params = parser.parse_args().params
    with tempfile.TemporaryDirectory() as temporary:
        projects = [copy_project(Path(temporary) / name, params) for name in ("first", "second")]
        for project in projects:
            subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=project, env=environment(project), check=True)
        paths = differing(*projects)
    print(json.dumps({"identical": not paths, "differing": paths}))
    raise SystemExit(bool(paths))


if __name__ == "__main__":
    main()
