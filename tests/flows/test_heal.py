import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.repo import heal as healing
from flows.repo.heal import heal
from flows.repo.lockfile import BEFORE, LOCK_FILE, keep_order, recorded_stages, remember
from flows.repo.run import run_stage
from tests.flows.conftest import edit
from tests.flows.test_repro import run as run_repro
from tests.flows.test_worktree import commit

CUTS = [
    "",
    "schema: '2.",
    "schema: '2.0'\nstages:\n  al",
    "schema: '2.0'\nstages:\n  alone:\n    cmd: x\n    deps:\n    - path",
]
BROKEN = Path(".graftline/broken/dvc.lock.1")


def ignore(_):
    pass


@pytest.mark.parametrize("cut", [*CUTS, "\x00" * 50])
def test_a_record_that_was_cut_short_is_put_back(finished, cut):
    whole = LOCK_FILE.read_bytes()
    assert heal() == []
    remember([LOCK_FILE])  # a run starts, and is killed while DVC writes
    LOCK_FILE.write_text(cut)
    (sentence,) = heal()
    assert sentence.startswith("dvc.lock was cut short, so it was put back as it was before the last run")
    assert str(BROKEN) in sentence
    assert BROKEN.read_text() == cut, "what looks broken is kept"
    assert LOCK_FILE.read_bytes() == whole
    assert heal() == []
    assert run_stage("join", ignore, ignore).state == "cached"


def test_every_broken_record_is_kept(finished):
    remember([LOCK_FILE])
    for number, cut in enumerate(CUTS, 1):
        LOCK_FILE.write_text(cut)
        assert len(heal()) == 1
        assert BROKEN.with_suffix(f".{number}").read_text() == cut


def test_a_record_that_was_cut_short_in_the_first_run_starts_anew(project):
    remember([LOCK_FILE])
    LOCK_FILE.write_text(CUTS[2])
    assert "a new one is begun" in heal()[0]
    assert not LOCK_FILE.exists()
    assert run_stage("alone", ignore, ignore).failure == ""


def test_a_record_that_no_run_of_ours_cut_short_is_put_back_as_it_was_committed(finished):
    commit(finished)
    whole = LOCK_FILE.read_bytes()
    LOCK_FILE.write_text(CUTS[2])  # `dvc repro` by hand was killed
    assert "as it was committed" in heal()[0]
    assert LOCK_FILE.read_bytes() == whole


def test_a_record_in_a_folder_of_its_own_is_put_back_too(finished):
    record = Path("sub/dvc.lock")
    record.parent.mkdir()
    record.write_text("schema: '2.0'\nstages: {}\n")
    remember([LOCK_FILE, record])
    record.write_text(CUTS[1])
    assert heal()[0].startswith("sub/dvc.lock was cut short")
    assert record.read_text() == "schema: '2.0'\nstages: {}\n"


CONFLICT = "<<<<<<< ours\n{}=======\n>>>>>>> theirs\n"


@pytest.mark.parametrize("text", ["schema: '3.0'\nstages: {}\n", CONFLICT.format("schema: '2.0'\n")])
def test_what_somebody_has_written_is_left_to_them(finished, text):
    remember([LOCK_FILE])
    LOCK_FILE.write_text(text)
    assert heal() == []
    assert LOCK_FILE.read_text() == text
    assert not BROKEN.parent.exists()


def test_a_record_that_dvc_is_writing_is_waited_for(finished, capsys):
    whole = LOCK_FILE.read_bytes()
    # Holds DVC's lock as a stage's end does, with half of the record written.
    code = "\n".join([
        "import time, zc.lockfile",
        "from pathlib import Path",
        "held, file = zc.lockfile.LockFile('.dvc/tmp/lock'), Path('dvc.lock')",
        "whole = file.read_bytes()",
        "file.write_bytes(whole[:20])",
        "print(1, flush=True)",
        "time.sleep(4)",
        "file.write_bytes(whole)",
        "held.close()",
    ])  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as dvc:
        dvc.stdout.readline()
        assert heal() == []
        assert dvc.wait(30) == 0
    assert LOCK_FILE.read_bytes() == whole
    assert f"waiting for DVC's lock, which process {dvc.pid} (" in capsys.readouterr().err


def test_a_killed_run_leaves_the_order_of_the_record_as_it_would_have_been(finished):
    whole = LOCK_FILE.read_bytes()
    records = {LOCK_FILE: recorded_stages()}
    LOCK_FILE.unlink()
    remember(records)  # a first run starts: alone is recorded first by chance, and the run is killed
    for name in ("alone", "start"):
        run_stage(name, ignore, ignore)
    remember(records)  # the next one starts
    for name in ("left", "right", "join"):
        run_stage(name, ignore, ignore)
    keep_order(records)
    assert LOCK_FILE.read_bytes() == whole
    assert not list(BEFORE.iterdir())


def test_what_others_recorded_meanwhile_stays(finished):
    names = recorded_stages()
    keep_order({LOCK_FILE: [*reversed(names[1:])]})
    assert recorded_stages() == [*reversed(names[1:]), names[0]]


def test_paths_that_a_killed_dvc_had_in_use_are_free(finished):
    edit(finished, "title: toy", "title: other")
    # Its number belongs to another program now, as after a restart of a container.
    used = {"pid": os.getppid(), "cmd": "dvc repro"}
    table = {"write": {str(finished / "out/join.txt"): used}, "read": {str(finished / "out/left.txt"): [used]}}
    Path(".dvc/tmp/rwlock").write_text(json.dumps(table))
    assert heal() == ["paths that a killed DVC had in use were set free"]
    assert run_stage("join", ignore, ignore).state == "executed"


@pytest.mark.parametrize("content", ['{"write": {"/', "[]", '{"read": {"a": 3}}'])
def test_a_table_of_paths_that_was_cut_short_is_removed(finished, content):
    edit(finished, "title: toy", "title: other")
    Path(".dvc/tmp/rwlock").write_text(content)
    assert len(heal()) == 1
    assert run_stage("join", ignore, ignore).state == "executed"


def test_a_run_by_dvc_alone_is_healed_and_leaves_no_copy(finished):
    LOCK_FILE.write_text(CUTS[2])
    code, _, error = run_repro(finished)
    assert code == 0
    assert error.startswith("dvc.lock was cut short")
    assert len(recorded_stages()) == 5
    assert not list(BEFORE.glob("*"))


def test_a_folder_without_dvc_has_nothing_to_heal(tmp_path):
    (tmp_path / "dvc.lock").write_text("x")
    assert healing.heal(tmp_path) == []
