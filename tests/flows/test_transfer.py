import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from dvc.utils.serialize import modify_yaml
from prefect import get_client, tags
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowRunFilter, FlowRunFilterId

from flows import pipeline as transfer_module
from flows import stages as stages_module
from flows.machine.lock import hold
from flows.pipeline import BUSY, LOCK_FILE, transfer
from flows.publish import compare
from flows.publish.artifacts import key
from flows.repo import access
from flows.repo.lockfile import BEFORE, recorded_stages
from flows.repo.plan import read_plan
from flows.server.settings import project as project_name
from pipeline_lib.core.errors import UserError
from tests.flows.conftest import depend, edit, ended, hold_dvc, repro, starts, track_images, wait_for
from tests.flows.odd import PROJECTS, merged, write

AFTER = "  after:\n    cmd: touch out/after.txt\n    deps: [out/join.txt]\n    outs: [out/after.txt]\n"
STAGES = ("alone", "start", "left", "right", "join")


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(stages_module, "RETRY_SECONDS", 0.1)


@pytest.fixture
def spans(monkeypatch):
    """When each stage began and ended."""
    found = {}
    original = stages_module.run_stage

    def timed(name, *others, **options):
        began = time.monotonic()
        result = original(name, *others, **options)
        found[name] = (began, time.monotonic())
        return result

    monkeypatch.setattr(stages_module, "run_stage", timed)
    return found


def run(api, num_stages=5, **parameters):
    """Run the flow; return its state, and the name of the state of each stage, which the server learns a bit later."""
    state = transfer(**parameters, return_state=True)
    chosen = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:

        def ended():
            runs = client.read_task_runs(flow_run_filter=chosen)
            return len(runs) == num_stages and all(run.state.is_final() for run in runs) and [runs]

        (runs,) = wait_for(ended, 60)
    return state, {run.name: run.state_name for run in runs}


def artifacts(state):
    chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        return {artifact.key: artifact for artifact in client.read_artifacts(artifact_filter=chosen)}


def outputs(project):
    return {path.name: path.read_bytes() for path in sorted((project / "out").glob("*.txt"))}


def test_a_first_run_leaves_what_dvc_repro_leaves(api, project, finished_template, spans):
    state, stages = run(api)
    assert state.is_completed()
    assert state.message == "5 completed"
    assert stages == dict.fromkeys(STAGES, "Completed")
    assert (project / "dvc.lock").read_bytes() == (finished_template / "dvc.lock").read_bytes()
    assert outputs(project) == outputs(finished_template)
    # The two that need the GPU, one after the other.
    first, second = sorted((spans["alone"], spans["right"]))
    assert first[1] <= second[0]


def test_a_run_with_nothing_to_do_starts_no_process(api, finished, monkeypatch):
    monkeypatch.setattr(
        stages_module, "run_stage", lambda *_, **__: pytest.fail("a stage that is up to date was started")
    )
    state, stages = run(api)
    assert state.message == "5 cached"
    assert stages == dict.fromkeys(STAGES, "Cached")


def test_a_result_that_dvc_has_is_restored(api, finished):
    before = outputs(finished)
    edit(finished, "title: toy", "title: other")
    _, stages = run(api)
    assert stages == {**dict.fromkeys(STAGES, "Cached"), "join": "Completed"}
    assert outputs(finished) != before
    edit(finished, "title: other", "title: toy")
    state, stages = run(api)
    assert stages == {**dict.fromkeys(STAGES, "Cached"), "join": "Restored"}
    assert state.message == "1 restored, 4 cached"
    assert outputs(finished) == before
    assert starts(finished, "join") == 2


def test_a_stage_after_one_that_ran_to_the_same_result_is_cached(api, finished):
    edit(finished, "toy.py left", "toy.py  left", "dvc.yaml")
    _, stages = run(api)
    assert stages == {**dict.fromkeys(STAGES, "Cached"), "left": "Completed"}


def test_a_mistake_is_told_once_and_stops_only_what_follows(api, finished):
    edit(finished, "epochs: 1", "epochs: 2")
    edit(finished, "device: cpu", "device: auto")
    edit(finished, "stages:\n", f"stages:\n{AFTER}", "dvc.yaml")
    (finished / "told-left").write_text("2")
    state, stages = run(api, num_stages=6)
    assert state.name == "Refused"
    assert state.message == "left cannot work with this: mend it"
    assert starts(finished, "left") == 2, "a user's mistake is not tried again"
    assert starts(finished, "join") == 1
    assert stages == {
        "alone": "Cached", "start": "Cached", "left": "Refused", "right": "Completed",
        "join": "Skipped", "after": "Skipped",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "before", "after", "attempts"),
    [("left", "epochs: 1", "epochs: 10", 2), ("right", "device: cpu", "device: auto", 1)],
)
def test_a_crash_is_tried_again_as_meta_says(api, finished, stage, before, after, attempts):
    edit(finished, before, after)
    (finished / f"told-{stage}").write_text("1")
    state, _ = run(api)
    assert state.name == "Failed"
    assert state.message == f"{stage} crashed with exit code 1: ValueError: {stage} broke"
    assert starts(finished, stage) == 1 + attempts
    assert starts(finished, "join") == 1


def test_a_crash_that_passes_is_no_failure(api, finished):
    (finished / "told-left").write_text("1")
    edit(finished, "python toy.py left", "python toy.py left || (rm told-left; exit 1)", "dvc.yaml")
    state, _ = run(api)
    assert state.is_completed()
    assert starts(finished, "left") == 3


def add_meta(project, meta):
    """Give the stage `join` settings."""
    listed = "    metrics: [metrics/join.json]\n"
    edit(project, listed, f"{listed}    meta: {meta}\n", "dvc.yaml")


def test_a_check_that_fails_stops_only_what_follows(api, finished):
    edit(finished, "epochs: 1", "epochs: 2")
    check = "    metrics: [metrics/join.json]\n"
    edit(
        finished, check, f"{check}    meta: {{checks: {{metrics/join.json: {{letters: {{min: 1000}}}}}}}}\n", "dvc.yaml"
    )
    edit(finished, "stages:\n", f"stages:\n{AFTER}", "dvc.yaml")
    for _ in range(2):  # The second time everything is up to date, and what does not hold still does not.
        state, stages = run(api, num_stages=6)
        assert state.name == "Blocked"
        assert "letters in metrics/join.json is " in state.message
        assert (stages["join"], stages["after"]) == ("Blocked", "Skipped")
        assert not (finished / "out/after.txt").exists()
    assert starts(finished, "join") == 2, "a check that fails is not tried again"
    edit(finished, "min: 1000", "min: 1", "dvc.yaml")
    _, stages = run(api, num_stages=6)
    assert stages == {**dict.fromkeys(STAGES, "Cached"), "after": "Completed"}


def test_a_stage_that_takes_too_long_is_stopped(api, finished):
    edit(finished, "title: toy", "title: other")
    edit(
        finished,
        "    metrics: [metrics/join.json]\n",
        "    metrics: [metrics/join.json]\n    meta: {timeout: 3}\n",
        "dvc.yaml",
    )
    (finished / "told-join").write_text("wait")
    state, _ = run(api)
    assert state.name == "Failed"
    assert state.message == "join took longer than the 3 s that dvc.yaml gives it under meta.timeout"
    running = psutil.process_iter(["cmdline"])  # None for a process that has ended meanwhile
    ended([process for process in running if (process.info["cmdline"] or [])[-2:] == ["toy.py", "join"]])


def test_a_setting_of_a_stage_that_is_not_allowed_is_refused(api, finished):
    edit(finished, "meta: {retries: 1}", "meta: {retries: often}", "dvc.yaml")
    state, _ = run(api, num_stages=0)
    assert state.name == "Refused"
    assert "meta.retries of the stage 'left' is 'often'" in state.message


def share(project, remote):
    command = [sys.executable, "-m", "dvc", "remote", "add", "-q", "-f", "-d", "shared", str(remote)]
    subprocess.run(command, cwd=project, check=True)


def test_a_second_clone_restores_what_the_first_pushed(api, finished, template, tmp_path, monkeypatch):
    share(finished, tmp_path / "remote")
    run(api, remote=True)
    clone = tmp_path / "clone"
    shutil.copytree(template, clone)
    share(clone, tmp_path / "remote")
    monkeypatch.chdir(clone)
    state, stages = run(api, remote=True)
    assert state.message == "5 restored"
    assert stages == dict.fromkeys(STAGES, "Restored")
    assert outputs(clone) == outputs(finished)
    assert not any(starts(clone, stage) for stage in STAGES)


def test_a_remote_that_fails_is_told_and_stops_nothing(api, finished, tmp_path):
    (tmp_path / "file").touch()
    share(finished, tmp_path / "file/remote")
    edit(finished, "title: toy", "title: other")
    state, _ = run(api, remote=True)
    assert state.is_completed()
    assert state.message.startswith("1 completed, 4 cached; ")
    assert "the results were not pushed: " in state.message


def test_metrics_are_compared_with_those_of_the_last_run(api, finished, monkeypatch):
    monkeypatch.setattr(transfer_module.deployment, "get_name", lambda: "Night run")
    events = []
    monkeypatch.setattr(compare, "emit_event", lambda event, **_: events.append(event))
    drops = {"metrics/join.json:letters": 0.5}
    state, _ = run(api, drops=drops)
    assert state.message == "5 cached", "there is nothing to compare with yet"
    edit(finished, "title: toy", "title: ''")
    state, _ = run(api, drops=drops)
    assert "metrics/join.json:letters went from " in state.message
    assert events == ["graftline.metrics.dropped"]
    rows = json.loads(artifacts(state)[key("metrics", "night-run")].data)
    assert [row["metric"] for row in rows] == ["metrics/join.json:letters", "metrics/join.json:nothing"]
    assert rows[0]["change"] == rows[0]["value"] - rows[0]["last"] < 0
    state, _ = run(api, drops=drops)
    assert state.message == "5 cached", "the last run is the one to compare with"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("metrics/join.json:leters", "metrics/join.json has no leters.*letters"),
        ("metrics/jion.json:letters", "no stage has the metrics metrics/jion.json.*metrics/join.json"),
        ("loss", "no stage has the metrics loss"),
    ],
)
def test_a_typo_in_drops_is_refused_before_anything_runs(api, finished, name, sentence):
    edit(finished, "title: toy", "title: other")
    state, stages = run(api, num_stages=0, drops={name: 1.0})
    assert state.name == "Refused"
    assert re.search(sentence, state.message), state.message
    assert not stages


def test_a_typo_in_drops_that_is_found_late_prevents_no_push(api, project, tmp_path, monkeypatch):
    share(project, tmp_path / "remote")
    monkeypatch.setattr(transfer_module.deployment, "get_name", lambda: "first run")
    state, _ = run(api, remote=True, drops={"metrics/join.json:leters": 1.0})
    assert state.is_completed()
    assert "its metrics were not compared: drops names metrics/join.json:leters" in state.message
    assert "not pushed" not in state.message
    assert list((tmp_path / "remote/runs").iterdir()), "all results are there"


def test_mistyped_parameters_are_refused_before_anything_runs(api, project):
    edit(project, "seed: 0", "sed: 0")
    state, stages = run(api, num_stages=0)
    assert state.name == "Refused"
    assert "unknown key 'sed'" in state.message
    assert "seed" in state.message
    assert not stages


def test_two_runs_do_not_meet(api, project):
    with hold(LOCK_FILE, "taken"):
        state, stages = run(api, num_stages=0)
    assert state.message == BUSY
    assert not stages


def test_metrics_and_progress_become_artifacts(api, finished):
    edit(finished, "title: toy", "title: other")
    state, _ = run(api)
    found = artifacts(state)
    assert set(found) == {key("plan"), key("join", "metrics"), key("join", "progress")}
    assert '{"metric": "nothing", "value": null}' in found[key("join", "metrics")].data
    assert found[key("join", "progress")].type == "progress"
    assert found[key("join", "progress")].data == 100
    assert found[key("join", "progress")].description == "join is done"


def test_a_run_can_be_found_again(api, finished):
    state, _ = run(api)
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(state.state_details.flow_run_id)
    assert found.name.startswith("mnist to digits, ")
    assert {"mnist", "digits", "simclr", "seed 0"} <= set(found.tags)


def test_the_name_and_the_tags_that_a_run_was_given_stay(api, finished):
    with tags("ours"):
        state = transfer.with_options(flow_run_name="before-lunch")(return_state=True)
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(state.state_details.flow_run_id)
    assert found.name == "before-lunch"
    assert {"ours", "mnist", "seed 0", project_name()} <= set(found.tags)


def test_another_program_that_looks_at_the_project_is_waited_for(api, finished, monkeypatch, capfd):
    order = recorded_stages()
    holding = [hold_dvc(60)]
    holder = access._holder

    def named_and_ended(file):  # so that it holds until it is waited for, however busy this machine is
        name = holder(file)
        holding[-1].kill()
        holding[-1].wait(30)
        return name

    def run_stages(*given):
        states = stages_module.run_stages(*given)
        with modify_yaml("dvc.lock") as lock:  # as if they had ended so
            lock["stages"] = {name: lock["stages"][name] for name in reversed(order)}
        holding.append(hold_dvc(60))
        return states

    monkeypatch.setattr(access, "_holder", named_and_ended)
    monkeypatch.setattr(transfer_module, "run_stages", run_stages)
    state, _ = run(api)
    assert state.message == "5 cached"
    assert recorded_stages() == order
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("waiting for DVC's lock")]
    assert [f"which process {process.pid} (" in line for process, line in zip(holding, told, strict=True)] == [
        True,
        True,
    ]


def test_a_program_that_never_lets_go_of_dvc_ends_the_wait(finished, monkeypatch):
    monkeypatch.setattr(access, "MOST_SECONDS", 0.0)
    with hold_dvc(60) as holder:
        with pytest.raises(UserError, match=f"process {holder.pid} .* has not let go of DVC's lock: end it"):
            read_plan()
        holder.kill()


def test_stages_of_datasets_and_seeds_are_tasks_by_their_addresses(api, grouped, tmp_path):
    shutil.copytree(grouped, tmp_path / "by_hand")
    repro(tmp_path / "by_hand")
    (grouped / "meet").write_text("train-0 train-1")  # each waits for the other one to start
    addresses = ("ingest@mnist", "ingest@digits", "train@0", "train@1", "judge")
    state, stages = run(api, num_stages=5)
    assert state.message == "5 completed"
    assert stages == dict.fromkeys(addresses, "Completed")
    assert (grouped / "dvc.lock").read_text() == (tmp_path / "by_hand/dvc.lock").read_text()
    assert {key("train-0", "metrics"), key("train-1", "metrics"), key("judge", "metrics")} <= set(artifacts(state))
    edit(grouped, "seeds: [0, 1]", "seeds: [0, 1, 2]")
    _, stages = run(api, num_stages=6)
    assert stages == {**dict.fromkeys(addresses, "Cached"), "train@2": "Completed", "judge": "Completed"}


def test_an_odd_project_runs_as_dvc_repro_runs_it(api, project, tmp_path):
    write(project, merged([*PROJECTS.values()]))
    shutil.copytree(project, tmp_path / "by_hand")
    repro(tmp_path / "by_hand")
    state = transfer(return_state=True)
    assert state.is_completed(), state.message
    for record in ("dvc.lock", "sub/dvc.lock"):
        assert (project / record).read_text() == (tmp_path / "by_hand" / record).read_text()
    assert not any(path.is_file() for path in BEFORE.rglob("*"))
    state = transfer(return_state=True)
    assert state.message == "2 completed, 20 cached", "some always run"


@pytest.mark.parametrize("tracked_by", ["add", "import-url"])
def test_data_that_dvc_tracks_leaves_no_copy_of_the_record_behind(tracked_by, api, finished, tmp_path):
    track_images(finished, tmp_path / "elsewhere", tracked_by)
    depend(finished, "toy.py", "images")
    for _ in range(2):
        state, stages = run(api, num_stages=6)
        assert state.is_completed()
        assert stages["images.dvc"] == "Cached"
        assert not list(BEFORE.iterdir()), "all is recorded, so there is nothing to mend in the next run"


def flow_process(api):
    return subprocess.Popen(
        [sys.executable, "-m", "flows.pipeline"],
        env={**os.environ, "PREFECT_API_URL": api},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(("told", "code", "sentence"), [("2", 2, "cannot work with this"), ("1", 1, "crashed")])
def test_the_command_ends_with_a_sentence_and_its_exit_code(api, finished, told, code, sentence):
    edit(finished, "title: toy", "title: other")
    (finished / "told-join").write_text(told)
    process = flow_process(api)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert output.splitlines()[-1].startswith("error: join ")
    assert sentence in output.splitlines()[-1]
    assert "Traceback" not in output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_flow_leaves_no_process(api, finished, number):
    edit(finished, "epochs: 1", "epochs: 2")
    (finished / "told-left").write_text("wait")
    already = starts(finished, "left")
    process = flow_process(api)
    wait_for(lambda: starts(finished, "left") > already, 60)
    stage = psutil.Process(int(Path("starts-left").read_text().splitlines()[-1]))
    children = [stage, *psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode != 0
    ended(children)
    assert starts(finished, "left") == already + 1, "a stage that was stopped is not tried again"
