import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scratch import ROOT
from pipeline_lib.core.errors import UserError
from tasks import hashes
from tasks import stage as stages
from tasks.blocks.shared import Roles
from tasks.declaration import read_declaration
from tasks.foreign import DeviceError
from tasks.signature import fingerprint, signature
from tasks.stage import Stage, guarded, run

PARAMS_YAML = """
seed: 0  # every random choice follows from it
datasets:
  mnist: {reader: mnist5k, path: requirements.lock}
  digits: {reader: digits, path: requirements.lock}
source: [mnist]
target: [digits]
adapt: {use: shot_im, epochs: 15}
"""
DVC_YAML = """
stages:
  bake:
    cmd: python -m tasks.bake
    deps: ["${datasets.mnist.path}", flour, oven.py]
    params: [seed, adapt.use]
    outs: [bread]
    metrics: [metrics/bake.json]
    plots: [plots/bake.csv: {x: epoch, y: loss}]
  other:
    cmd: python -m tasks.other
    outs: [other]
  train:
    matrix: {seed: [0, 1]}
    cmd: python -m tasks.train ${item.seed}
    params: [seed]
    outs: ["trained/${item.seed}"]
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one stage, whose working directory the test is in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    Path("params.yaml").write_text(PARAMS_YAML)
    Path("dvc.yaml").write_text(DVC_YAML)
    shutil.copy(ROOT / ".dvcignore", tmp_path)
    Path("flour").mkdir()
    Path("flour/wheat.txt").write_text("wheat")
    Path("oven.py").write_text("heat = 200")
    Path("requirements.lock").write_text("mnist")
    return tmp_path


def bake(stage: Stage) -> None:
    stage.output("bread").mkdir()
    (stage.output("bread") / "crumb").write_text("new")
    stage.output("metrics/bake.json").write_text("{}")
    stage.output("plots/bake.csv").write_text("epoch,loss\n")


def replace(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


def current() -> str:
    return fingerprint(signature(read_declaration("bake")))


def half_written() -> list[Path]:
    return [path for path in Path().rglob("*") if ".partial" in path.name]


CHANGES: dict[str, Callable[[], object]] = {
    "the command": lambda: replace("dvc.yaml", "tasks.bake", "tasks.bake --hot"),
    "a parameter": lambda: replace("params.yaml", "seed: 0", "seed: 1"),
    "a dotted parameter": lambda: replace("params.yaml", "use: shot_im", "use: adabn"),
    "the type of a parameter": lambda: replace("params.yaml", "seed: 0", "seed: 0.0"),
    "a file": lambda: Path("oven.py").write_text("heat = 220"),
    "a file in a folder": lambda: Path("flour/wheat.txt").write_text("rye"),
    "a new file in a folder": lambda: Path("flour/salt.txt").write_text(""),
    "a renamed file in a folder": lambda: Path("flour/wheat.txt").rename("flour/rye.txt"),
    "an interpolated dependency": lambda: Path("requirements.lock").write_text("digits"),
    "what is a dependency": lambda: replace("dvc.yaml", "flour, oven.py", "flour"),
}

NOTHINGS: dict[str, Callable[[], object]] = {
    "another time": lambda: os.utime("oven.py", (1, 1)),
    "the same content again": lambda: (Path("oven.py").unlink(), Path("oven.py").write_text("heat = 200")),
    "another stage's parameter": lambda: replace("params.yaml", "epochs: 15", "epochs: 5"),
    "a comment in params.yaml": lambda: replace("params.yaml", "# every random choice", "# each random choice"),
    "another stage": lambda: replace("dvc.yaml", "tasks.other", "tasks.more"),
    "a folder of bytecode": lambda: (
        Path("flour/__pycache__").mkdir(),
        Path("flour/__pycache__/w.pyc").write_text("x"),
    ),
    "stray bytecode": lambda: Path("flour/wheat.pyc").write_text("x"),
    "an unrelated file": lambda: Path("notes.txt").write_text("x"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_fingerprint_changes_with_each_input(change: Callable[[], object]) -> None:
    before = current()
    change()
    assert current() != before


@pytest.mark.parametrize("change", NOTHINGS.values(), ids=NOTHINGS)
def test_fingerprint_changes_with_nothing_else(change: Callable[[], object]) -> None:
    before = current()
    change()
    assert current() == before


def test_fingerprint_does_not_depend_on_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = current()
    shutil.copytree(tmp_path, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    assert current() == before


def test_what_is_no_file_is_neither_waited_for_nor_followed() -> None:
    os.mkfifo("flour/pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("flour/socket")
    Path("flour/link").symlink_to("nowhere")
    Path("flour/ring").symlink_to("ring")
    before = current()
    Path("flour/link").unlink()
    Path("flour/link").symlink_to("elsewhere")
    assert current() != before


def test_keys_of_a_parameter_may_be_of_any_kind_and_order() -> None:
    replace("dvc.yaml", "[seed, adapt.use]", "[seed, adapt.use, mixed]")
    found = []
    for written in ("{2: a, b: c, true: d}", "{b: c, true: d, 2: a}", '{"2": a, b: c, true: d}'):
        replace("params.yaml", "seed: 0", f"mixed: {written}\nseed: 0")
        found.append(current())
        Path("params.yaml").write_text(PARAMS_YAML)
    assert found[0] == found[1] != found[2]


def test_parameters_in_another_file_are_an_input() -> None:
    replace("dvc.yaml", "[seed, adapt.use]", "[seed, {more.yaml: [a]}]")
    Path("more.yaml").write_text("a: 1\n")
    before = current()
    Path("more.yaml").write_text("a: 2\n")
    assert current() != before


@pytest.mark.parametrize("declared", ["missing_folder", "${datasets.nowhere}"])
def test_signature_names_what_is_missing(declared: str) -> None:
    replace("dvc.yaml", "flour,", f'"{declared}",')
    with pytest.raises(UserError, match=r"missing_folder|datasets\.nowhere"):
        signature(read_declaration("bake"))


def test_a_missing_parameter_is_found_before_the_stage_runs() -> None:
    replace("dvc.yaml", "adapt.use", "adapt.user")
    with pytest.raises(UserError, match=r"adapt\.user"):
        run("bake", lambda stage: pytest.fail("it ran"))


def test_unknown_stage_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'bake'"):
        run("bakery", bake)


def test_a_stage_of_one_seed_writes_its_own_outputs_and_keeps_its_own_checkpoints() -> None:
    seen = []

    def train(stage: Stage) -> None:
        seen.append(stage.checkpoints)
        stage.output("trained/1").write_text("weights")

    run("train@1", train)
    assert Path("trained/1").read_text() == "weights"
    assert not Path("trained/0").exists()
    assert seen[0].parent == stages.CHECKPOINTS / "train@1"


@pytest.mark.parametrize("address", ["a@../../b", "a@b/c", "a@" + "x" * 300, "a@*[0]"])
def test_any_address_has_a_folder_of_checkpoints_of_its_own(address: str) -> None:
    folder = stages.checkpoints_of(address)
    assert folder.parent == stages.CHECKPOINTS
    assert len(folder.name) <= 100
    assert not set(folder.name) & set("/*[]?.")


def test_a_stage_has_what_it_reads_of_params_yaml() -> None:
    seen = []
    run("bake", lambda stage: (seen.append(stage.params), bake(stage)), Roles)
    assert seen == [Roles(source=["mnist"], target=["digits"])]
    run("bake", lambda stage: (seen.append(stage.params), bake(stage)))
    assert seen[1].adapt.epochs == 15


def test_a_mistake_in_what_later_stages_read_stops_the_first_one() -> None:
    replace("params.yaml", "epochs: 15", "epochs: 0")
    with pytest.raises(UserError, match=r"^params\.yaml: adapt\.epochs is 0"):
        run("bake", lambda stage: pytest.fail("it ran"), Roles)


def test_of_a_distributed_training_the_first_process_alone_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def bake_together(stage: Stage) -> None:
        seen.append(stage.fingerprint)
        if len(seen) == 1:  # what Lightning does: a process with this environment, and more
            with monkeypatch.context() as other:
                other.setenv("LOCAL_RANK", "1")
                other.setattr(stages, "signature", lambda *_: pytest.fail("it hashed"))
                run("bake", bake_together)
            bake(stage)

    run("bake", bake_together)
    assert seen == [seen[0]] * 2


def test_outputs_appear_together_at_the_end() -> None:
    def watch(stage: Stage) -> None:
        bake(stage)
        assert not any(Path(path).exists() for path in ("bread", "metrics/bake.json", "plots/bake.csv"))

    run("bake", watch)
    assert Path("bread/crumb").read_text() == "new"
    assert Path("metrics/bake.json").exists()
    assert Path("plots/bake.csv").exists()
    assert not half_written()


def test_outputs_replace_the_former_ones() -> None:
    Path("bread").mkdir()
    Path("bread/stale").write_text("old")
    run("bake", bake)
    assert [path.name for path in Path("bread").iterdir()] == ["crumb"]


@pytest.mark.parametrize("error", [RuntimeError("a crash"), UserError("a mistake"), KeyboardInterrupt()])
def test_an_error_leaves_the_former_outputs(error: BaseException) -> None:
    Path("bread").mkdir()
    Path("bread/crumb").write_text("old")

    def fail(stage: Stage) -> None:
        bake(stage)
        raise error

    with pytest.raises(type(error)):
        run("bake", fail)
    assert Path("bread/crumb").read_text() == "old"
    assert not Path("metrics/bake.json").exists()
    assert not half_written()


def test_an_output_that_was_not_written_publishes_none() -> None:
    with pytest.raises(ValueError, match=r"did not write metrics/bake\.json, plots/bake\.csv"):
        run("bake", lambda stage: stage.output("bread").mkdir())
    assert not Path("bread").exists()


def test_an_output_that_is_not_declared_is_refused() -> None:
    with pytest.raises(ValueError, match="does not list cake"):
        run("bake", lambda stage: stage.output("cake").mkdir())


@pytest.mark.parametrize("place", ["plots", "bread"])
def test_a_folder_that_cannot_be_written_to_is_named_before_anything_runs(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(place).mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != place)  # root may write anywhere
    with pytest.raises(UserError, match=f"the folder {place} cannot be written to, where {place}"):
        run("bake", lambda stage: pytest.fail("it ran"))


def test_a_file_in_the_place_of_a_folder_is_named_before_anything_runs() -> None:
    Path("metrics").touch()
    with pytest.raises(UserError, match=r"metrics is a file, but the output metrics/bake\.json needs a folder there"):
        run("bake", lambda stage: pytest.fail("it ran"))


def test_a_full_disk_is_a_sentence_and_leaves_nothing_half_written() -> None:
    def fill(stage: Stage) -> None:
        bake(stage)
        Path("/dev/full").write_text("more")

    with pytest.raises(UserError, match=r"^the disk of .* is full: free some space and run again, and 'bake' goes on$"):
        run("bake", fill)
    assert not half_written()


def test_a_damaged_dependency_is_named() -> None:
    Path("flour/card.json").write_text('{"cut": ')

    def read(stage: Stage) -> None:
        json.loads(Path("flour/card.json").read_text())

    with pytest.raises(UserError, match=r"^flour/card\.json is cut short or damaged \(Expecting value"):
        run("bake", read)


def test_leftovers_of_a_killed_run_are_not_taken_over() -> None:
    Path(".bread.partial").mkdir()
    Path(".bread.partial/stale").write_text("old")
    run("bake", bake)
    assert [path.name for path in Path("bread").iterdir()] == ["crumb"]


EDITS = {key: change for key, change in CHANGES.items() if key != "what is a dependency"}
NAMED = {
    "the command": "the command",
    "a parameter": "'seed' in params.yaml",
    "the type of a parameter": "'seed' in params.yaml",
    "a dotted parameter": "'adapt.use' in params.yaml",
    "a file": "oven.py",
    "a file in a folder": "flour/wheat.txt",
    "a new file in a folder": "flour/salt.txt",
    "a renamed file in a folder": "flour/rye.txt, flour/wheat.txt",
    "an interpolated dependency": "requirements.lock",
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_while_it_runs_is_named_and_nothing_is_published(edit: str) -> None:
    def edited(stage: Stage) -> None:
        bake(stage)
        EDITS[edit]()

    with pytest.raises(UserError) as caught:
        run("bake", edited)
    assert str(caught.value).startswith(f"{NAMED[edit]} changed while 'bake' was running")
    assert not Path("bread").exists()
    assert not half_written()


def test_an_edit_in_the_same_moment_as_the_start_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that counts time coarsely, such an edit leaves size and times as they were."""
    monkeypatch.setattr(hashes, "_stamp", lambda status: f"{status.st_size}")

    def edited(stage: Stage) -> None:
        bake(stage)
        Path("oven.py").write_text("heat = 220")

    with pytest.raises(UserError, match=r"^oven\.py changed while 'bake' was running"):
        run("bake", edited)


def test_an_edit_that_has_no_effect_is_let_through() -> None:
    def touched(stage: Stage) -> None:
        bake(stage)
        os.utime("oven.py")

    run("bake", touched)
    assert Path("bread").exists()


def test_checkpoints_belong_to_one_fingerprint_and_go_when_the_stage_is_done() -> None:
    seen = []

    def interrupted(stage: Stage) -> None:
        seen.append(stage.checkpoints)
        stage.checkpoints.mkdir(parents=True, exist_ok=True)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        run("bake", interrupted)
    assert seen[0].exists()
    run("bake", lambda stage: (seen.append(stage.checkpoints), bake(stage)))
    assert seen[1] == seen[0]
    assert not seen[0].exists()
    Path("oven.py").write_text("heat = 220")
    run("bake", lambda stage: (seen.append(stage.checkpoints), bake(stage)))
    assert seen[2] != seen[0]


@pytest.mark.parametrize("debug", [False, True])
def test_a_users_mistake_is_one_sentence(
    debug: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", "--debug"] if debug else ["stage"])

    def fail() -> None:
        raise UserError("the thing is not there: put it there")

    with pytest.raises(SystemExit) as caught:
        guarded(fail)
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert shown.endswith("error: the thing is not there: put it there\n")
    assert ("Traceback" in shown) is debug
    assert (shown.count("\n") == 1) is not debug


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(24, "Too many open files"), 2, "error: too many files are open at a time"),
        (DeviceError("the GPU failed: run again"), 1, "error: the GPU failed: run again"),
    ],
)
def test_what_the_system_raises_is_one_sentence_too(
    error: Exception, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["stage"])

    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        guarded(fail)
    assert caught.value.code == code
    shown = capsys.readouterr().err
    assert shown.startswith(said)
    assert shown.count("\n") == 1


def test_an_error_of_the_code_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: print(1 / 0))


SLEEPER = """
import time
from tasks.stage import main

def bake(stage):
    stage.output("bread").mkdir()
    print("ready", flush=True)
    time.sleep(60)

main("bake", bake)
"""


def in_project(folder: Path) -> dict[str, Any]:
    """Arguments for a process in ``folder`` with the tasks of the tree."""
    return {"cwd": folder, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "stdout": subprocess.PIPE, "text": True}


def test_a_terminated_stage_leaves_nothing_half_written(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SLEEPER], **in_project(tmp_path))
    assert process.stdout.readline() == "ready\n"
    assert half_written()
    process.terminate()
    assert process.wait(20) == 143
    assert not half_written()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_a_stage_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    parent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], **in_project(tmp_path))
    pid = int(process.stdout.readline())
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait()
    for _ in range(100):
        if not _alive(pid):
            return
        time.sleep(0.1)
    pytest.fail(f"the stage {pid} outlived its parent")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
