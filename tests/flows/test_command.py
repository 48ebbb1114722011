import os
import subprocess
import sys

import pytest

from tests.flows.conftest import edit, starts
from tests.flows.toy import INPUTS


@pytest.fixture
def other_python(tmp_path):
    """An environment in which `python` is another one, which cannot run a stage."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin/python"
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    return {**os.environ, "PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]])}


def run(environment):
    return subprocess.run(
        [sys.executable, "-m", "flows", "run"], env=environment, capture_output=True, text=True, timeout=120
    )


def test_run_checks_the_settings_then_runs_the_stages_and_says_the_verdict(project, other_python):
    (project / "reports").mkdir()
    (project / "reports/report.html").write_text("")
    (project / "reports/verdict.json").write_text('{"lines": ["It carries over."]}')
    done = run(other_python)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("params.yaml is valid\n")
    assert "\nIt carries over.\n" in done.stdout.split("Running stage")[-1]
    assert {stage: starts(project, stage) for stage in INPUTS} == dict.fromkeys(INPUTS, 1)


def test_nothing_runs_for_a_mistake_in_the_settings(project, other_python):
    edit(project, "epochs: 1", "epochs: 0")
    done = run(other_python)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: params.yaml: heads.epochs is 0")
    assert not any(starts(project, stage) for stage in INPUTS)
