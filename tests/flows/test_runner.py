import json
import os
import threading
import time

import psutil
import pytest

from flows.repo import run as runner
from flows.repo.lockfile import recorded_stages
from flows.repo.run import progress_event, run_stage, supervised
from tests.flows.conftest import edit, ended, starts

# A stage that goes through the entry of every real stage.
GUARDED = """
import sys
from pipeline_lib.core.errors import UserError
from tasks.stage import main

def body(stage):
    stage.output("out/left.txt").write_text(str(stage.params.heads.epochs))
    if stage.params.heads.epochs > 5:
        raise UserError("heads.epochs is more than the toy can take: lower it")

main("left", body)
"""


def ignore(_):
    pass


def test_lines_and_progress_are_told_apart(finished):
    edit(finished, "title: toy", "title: other")
    lines, events = [], []
    result = run_stage("join", lines.append, events.append)
    assert (result.state, result.exit_code, result.error) == ("executed", 0, "")
    assert lines == ["Running stage 'join':", "> python toy.py join"]
    assert [(event["label"], event["done"], event["total"]) for event in events] == [("join", 1, 2), ("join", 2, 2)]


def test_what_is_up_to_date_is_cached(finished):
    assert run_stage("join", ignore, ignore).state == "cached"


@pytest.mark.parametrize(
    ("command", "code", "failure", "sentence"),
    [
        ("echo 'error: no label x: name another' >&2; exit 2", 2, "mistake", "no label x: name another"),
        ("echo 'ValueError: no' >&2; exit 1", 1, "crash", "join crashed with exit code 1: ValueError: no"),
        ("kill -9 $$", -9, "crash", "join was killed by SIGKILL"),
        ("rm -f out/join.txt", 255, "crash", "DVC could not run 'join': output 'out/join.txt' does not exist"),
    ],
)  # fmt: skip
def test_every_end_is_one_sentence(finished, command, code, failure, sentence):
    edit(finished, "python toy.py join", json.dumps(command), "dvc.yaml")
    result = run_stage("join", ignore, ignore)
    assert (result.exit_code, result.failure, result.error) == (code, failure, sentence)


def test_another_dvc_process_is_named(finished):
    edit(finished, "title: toy", "title: other")
    held = {"write": {str(finished / "out/join.txt"): {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}}
    (finished / ".dvc/tmp/rwlock").write_text(json.dumps(held))
    result = run_stage("join", ignore, ignore)
    assert "another DVC process works on" in result.error
    assert result.failure == "mistake"
    assert starts(finished, "join") == 1


def test_a_refused_stage_keeps_the_last_good_outputs(finished):
    (finished / "guarded.py").write_text(GUARDED)
    edit(finished, "cmd: python toy.py left", "cmd: python guarded.py", "dvc.yaml")
    assert run_stage("left", ignore, ignore).state == "executed"
    assert (finished / "out/left.txt").read_text() == "1"
    edit(finished, "epochs: 1", "epochs: 6")
    result = run_stage("left", ignore, ignore)
    assert (result.exit_code, result.error) == (2, "heads.epochs is more than the toy can take: lower it")
    assert (finished / "out/left.txt").read_text() == "1"


@pytest.mark.parametrize("command", ["kill -9 $$", "rm -f out/join.txt metrics/join.json; exit 1"])
def test_a_stage_that_was_killed_has_its_last_good_outputs_back(finished, command):
    before = (finished / "out/join.txt").read_bytes()
    edit(finished, "python toy.py join", json.dumps(command), "dvc.yaml")
    assert run_stage("join", ignore, ignore).failure == "crash"
    assert (finished / "out/join.txt").read_bytes() == before
    assert (finished / "metrics/join.json").exists()


def test_two_seeds_run_at_the_same_time(grouped):
    (grouped / "meet").write_text("train-0 train-1")  # each waits for the other one to start
    assert run_stage("ingest@mnist", ignore, ignore).failure == ""
    results = {}
    threads = [
        threading.Thread(target=lambda name=name: results.update({name: run_stage(name, ignore, ignore)}))
        for name in ("train@0", "train@1")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert {name: (result.state, result.error) for name, result in results.items()} == dict.fromkeys(
        ("train@0", "train@1"), ("executed", "")
    )
    assert {"ingest@mnist", "train@0", "train@1"} <= set(recorded_stages())


ODD = [
    '{"event": "progress", "label": "x", "done": 1, "tot',
    '{"event": "progress", "done": 1, "total": 2}',
    '{"event": "progress", "label": "x", "done": "1", "total": 2}',
    '{"event": "progress", "label": "x", "done": null, "total": 2}',
    '{"event": "progress", "label": "x", "done": 1, "total": 2, "metrics": [1]}',
    '{"event": "progress"}{"event": "progress"}',
    '{"event": "progression"}',
    "",
]


@pytest.mark.parametrize("line", ODD)
def test_a_line_that_is_no_progress_is_a_line_of_the_log(line):
    assert progress_event(line) is None


def test_a_metric_that_is_no_number_is_left_out():
    line = '{"event": "progress", "label": "x", "done": 1, "total": 2, "metrics": {"a": null, "b": 0.5, "c": "x"}}'
    assert progress_event(line)["metrics"] == {"b": 0.5}
    assert progress_event('{"event": "progress", "label": "x", "done": 1, "total": 2}')["metrics"] == {}


def test_an_odd_line_stops_no_stage(finished):
    odd = json.dumps(f"echo '{ODD[0]}'; echo '{ODD[1]}'; python toy.py join")
    edit(finished, "python toy.py join", odd, "dvc.yaml")
    lines, events = [], []
    assert run_stage("join", lines.append, events.append).error == ""
    assert {ODD[0], ODD[1]} <= set(lines)
    assert len(events) == 2


def test_an_error_of_the_reader_stops_the_stage(finished):
    edit(finished, "cmd: python toy.py join", 'cmd: "echo reading; sleep 60"', "dvc.yaml")
    children = []
    others = psutil.Process().children(recursive=True)

    def fail(line):
        if line == "reading":
            children.extend(set(psutil.Process().children(recursive=True)).difference(others))
            raise RuntimeError("the log is full")

    with pytest.raises(RuntimeError, match="the log is full"):
        run_stage("join", fail, ignore)
    assert len(children) >= 2, "DVC and the command"
    ended(children)


def test_leaving_early_stops_running_stages_and_starts_no_more(finished):
    edit(finished, "cmd: python toy.py join", "cmd: sleep 60", "dvc.yaml")
    results = []
    thread = threading.Thread(target=lambda: results.append(run_stage("join", ignore, ignore)))
    with pytest.raises(KeyboardInterrupt), supervised():
        thread.start()
        while not runner._running:
            time.sleep(0.01)
        raise KeyboardInterrupt
    thread.join(20)
    assert results[0].failure == "stopped"
    with pytest.raises(InterruptedError):
        run_stage("left", ignore, ignore)
    with supervised():
        assert run_stage("left", ignore, ignore).state == "cached"
