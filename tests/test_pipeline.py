"""The whole pipeline on the toy project: three runs from nothing, side by side, that several tests look at."""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from benchmarks.scratch import differing, outputs
from tasks.declaration import read_declaration, read_stages
from tasks.stage import guarded, run
from tests.toy import call, edit_params, make_project, merge, shuffle_labels, start

pytestmark = pytest.mark.timeout(900)

# What is allowed to know the target's labels. The dataset carries them; the rest are scores.
KNOWS_LABELS = (
    "datasets/printed/",
    "reports/audit.json",
    "reports/audit.html",
    "reports/evaluation.json",
    "reports/verdict.json",
    "reports/report.html",
    "metrics/audit.json",
    "metrics/evaluate.json",
    "plots/label_efficiency.csv",
)
# They name what their stage depended on, which is the dataset with all its labels.
CONFIGS = tuple(f"models/{name}/config.json" for name in ("encoder/0", "encoder/0/start", "heads/0", "adapted/0"))
BODY = "    params = stage.params\n"  # the first line of the body of tasks/ingest.py


@dataclass(frozen=True)
class Runs:
    """The finished projects: by ``dvc repro``, by the flow, and by ``dvc repro`` with the target's labels shuffled."""

    repro: Path
    flow: Path
    shuffled: Path
    said: Mapping[str, str]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    projects = {name: make_project(folder / name) for name in ("repro", "flow", "shuffled")}
    shuffle_labels(projects["shuffled"] / "pictures/printed")
    commands = {"repro": ("dvc", "repro"), "flow": ("flows.pipeline",), "shuffled": ("dvc", "repro")}
    processes = {name: start(projects[name], *command) for name, command in commands.items()}
    try:
        said = {name: "\n".join(process.communicate()) for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.terminate()
    for name, process in processes.items():
        assert process.returncode == 0, f"{name}:\n{said[name]}"
    return Runs(**projects, said=said)


@pytest.fixture
def project(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished project of the test's own, which it is in."""
    copy = tmp_path / "project"
    shutil.copytree(runs.repro, copy)
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that has not run, which the test is in."""
    monkeypatch.chdir(make_project(tmp_path / "project"))
    return Path("pictures/drawn")


def declared_outputs(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    with monkeypatch.context() as inside:
        inside.chdir(project)
        return [out for stage in read_stages().values() for out in stage.outs]


def half_written(project: Path) -> list[str]:
    return [str(path) for path in project.rglob("*.partial*")]


def test_every_declared_output_exists(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [out for out in declared_outputs(runs.repro, monkeypatch) if not (runs.repro / out).exists()]
    assert not missing
    assert not half_written(runs.repro)


def test_the_tree_stays_clean_but_for_the_lock(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=toy", "-c", "user.email=toy@toy", *arguments]
        return subprocess.run(command, cwd=runs.repro, check=True, capture_output=True, text=True).stdout

    ours = {line[3:] for line in git("status", "--short", "--untracked-files=all").splitlines()}
    outs = declared_outputs(runs.repro, monkeypatch)
    assert not [path for path in ours if any(Path(path).is_relative_to(out) for out in outs)]
    assert "dvc.lock" in ours
    assert not [path for path in ours if ".graftline" in path or "/tmp/" in path or "/cache/" in path]


def test_a_second_run_has_nothing_to_do(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = (runs.repro / "dvc.lock").read_bytes()
    done = call(runs.repro, "dvc", "repro")
    assert done.returncode == 0, done.stderr
    assert "Running stage" not in done.stdout
    monkeypatch.chdir(runs.repro)
    assert done.stdout.count("didn't change, skipping") == len(read_stages())
    assert (runs.repro / "dvc.lock").read_bytes() == lock


def test_the_flow_leaves_the_same_lock_and_the_same_bytes(runs: Runs) -> None:
    assert differing(runs.repro, runs.flow) == []
    assert (runs.flow / "dvc.lock").read_text() == (runs.repro / "dvc.lock").read_text()


def test_shuffling_the_targets_labels_changes_only_scores(runs: Runs) -> None:
    changed = differing(runs.repro, runs.shuffled)
    for name in CONFIGS:
        configs = [json.loads((project / name).read_text()) for project in (runs.repro, runs.shuffled)]
        assert {key for key in configs[0] if configs[0][key] != configs[1].get(key)} == {"fingerprint"}
    assert [path for path in changed if path not in CONFIGS and not path.startswith(KNOWS_LABELS)] == []
    # The shuffle did reach the scores, or the test would prove nothing.
    assert {"datasets/printed/table.parquet", "metrics/evaluate.json"} <= set(changed)
    assert "datasets/printed/images.npy" not in changed


def test_metrics_are_flat_numbers(runs: Runs) -> None:
    for file in sorted((runs.repro / "metrics").rglob("*.json")):
        metrics = json.loads(file.read_text())
        assert metrics, file
        assert all(value is None or isinstance(value, (int, float)) for value in metrics.values()), file


def test_the_verdict_is_six_lines_and_four_kinds(runs: Runs) -> None:
    verdict = json.loads((runs.repro / "reports/verdict.json").read_text())
    assert len(verdict["lines"]) == 6
    kinds = list(dict.fromkeys(row["kind"] for row in verdict["entries"]))
    assert kinds == ["self-taught", "multi-task", "transductive", "unsupervised"]
    shown = call(runs.repro, "tasks.verdict")
    assert shown.returncode == 0, shown.stderr
    assert "reports/report.html" in shown.stdout


# ---- bad input -------------------------------------------------------------------------------------------


def set_params(**changes: Any) -> Callable[[], None]:
    return lambda: edit_params(Path(), lambda params: merge(params, changes))


def set_drawn(**changes: Any) -> Callable[[], None]:
    return set_params(datasets={"drawn": changes})


def edit_table(dataset: str, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[], None]:
    path = Path("pictures") / dataset / "labels.csv"
    return lambda: edit(pd.read_csv(path)).to_csv(path, index=False)


def empty(dataset: str) -> None:
    for file in (Path("pictures") / dataset).glob("*.png"):
        file.unlink()


def spoil(num: int) -> None:
    """Cut off every other picture of the source, and replace the rest by text, up to ``num``."""
    for index, file in enumerate(sorted(Path("pictures/drawn").glob("*.png"))[:num]):
        file.write_bytes(file.read_bytes()[:60] if index % 2 else b"not a picture")


# What is done to a project, and the words that the one sentence must have.
INGEST_MISTAKES: dict[str, tuple[Callable[[], object], list[str]]] = {
    "an unknown key": (set_drawn(sise=3), ["params.yaml", "datasets.drawn.sise"]),
    "a mistyped value": (set_params(seed="zero"), ["params.yaml", "seed", "'zero'", "integer"]),
    "an unknown reader": (set_drawn(reader="foldr"), ["datasets.drawn", "reader", "did you mean 'folder'"]),
    "a missing folder": (set_drawn(path="pictures/drwan"), ["pictures/drwan"]),
    "no image": (lambda: empty("drawn"), ["pictures/drawn", "no image", ".png"]),
    "too many broken images": (lambda: spoil(20), ["20 of 96", "000.png", "max_broken"]),
    "a missing table": (set_drawn(labels="table.csv"), ["pictures/drawn/table.csv", "missing"]),
    "text for a number": (edit_table("drawn", lambda table: table.assign(area="large")), ["'area'", "'large'"]),
    "a file named twice": (
        edit_table("drawn", lambda table: pd.concat([table, table[:1]])),
        ["'000.png'", "twice"],
    ),
    "a file that is not there": (
        edit_table("drawn", lambda table: table.replace("000.png", "nought.png")),
        ["'nought.png'", "column 'file'"],
    ),
    "a group in both splits": (
        edit_table("drawn", lambda table: table.assign(group="one", split=["train", "test"] * 48)),
        ["'one'", "split"],
    ),
    "content larger than the frame": (set_drawn(content=17), ["17", "image.size", "16"]),
}


def run_stage(address: str) -> None:
    """Run a stage of the project that the test is in, in this process."""
    words = read_declaration(address).cmd.split()[2:]
    body: Any = import_module(words[0]).run
    if words[1:]:
        body = partial(body, **{"dataset": words[1]} if address.startswith("ingest") else {"training": int(words[1])})
    guarded(lambda: run(address, body))


def sentence_of(stage: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence that the stage ends with."""
    with pytest.raises(SystemExit) as caught:
        run_stage(stage)
    said = [line for line in capsys.readouterr().err.splitlines() if "Warning" not in line]
    assert caught.value.code == 2
    assert [line for line in said if line.startswith("error: ")] == said[-1:], said
    assert not [line for line in said if "Traceback" in line]
    assert half_written(Path()) == []
    return said[-1]


@pytest.mark.parametrize("mistake", INGEST_MISTAKES)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    mistake: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, words = INGEST_MISTAKES[mistake]
    make()
    said = sentence_of("ingest@drawn", capsys)
    assert [word for word in words if word not in said] == [], said
    assert not Path("datasets/drawn").exists()


# Mistakes that stages after ingest find, each in a finished project.
LATER_MISTAKES: dict[str, tuple[str, Callable[[], object], list[str]]] = {
    "an unknown method": ("pretrain@0", set_params(pretrain={"method": "simcrl"}), ["did you mean 'simclr'"]),
    "an unknown option": (
        "pretrain@0",
        set_params(pretrain={"options": {"temprature": 0.1}}),
        ["pretrain", "'temprature'", "did you mean 'temperature'"],
    ),
    "an option out of range": (
        "pretrain@0",
        set_params(pretrain={"options": {"temperature": -1}}),
        ["pretrain", "temperature", "-1"],
    ),
    "an unknown encoder": ("pretrain@0", set_params(pretrain={"encoder": "small_cn"}), ["did you mean 'small_cnn'"]),
    "a device that is not there": ("embed@0", set_params(device="cuda:9"), ["cuda:9", "auto"]),
    "NaN in the loss": ("pretrain@0", set_params(pretrain={"lr": 1e30}), ["loss", "nan", "lr"]),
    "too large a choice": ("select", set_params(select={"method": "random", "size": 500}), ["select", "size", "96"]),
    "a label to learn from where it is not": (
        "audit",
        set_params(labels={"weight": {"kind": "regression", "learn_from": "target"}}, primary="weight"),
        ["'weight'", "target"],
    ),
}


@pytest.mark.parametrize("mistake", LATER_MISTAKES)
def test_a_later_mistake_leaves_the_last_good_outputs(
    mistake: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage, make, words = LATER_MISTAKES[mistake]
    before = outputs(project)
    make()
    said = sentence_of(stage, capsys)
    assert [word for word in words if word not in said] == [], said
    assert outputs(project) == before


def test_dvc_repro_brings_the_last_good_outputs_back(project: Path) -> None:
    """DVC removes a stage's outputs before it runs the command, and would leave them removed after a mistake."""
    before = outputs(project)
    set_params(pretrain={"method": "simcrl"})()
    done = call(project, "dvc", "repro", "pretrain@0")
    assert done.returncode != 0
    assert "error: pretrain in params.yaml: method is 'simcrl'" in done.stderr
    assert "Traceback" not in done.stderr
    assert outputs(project) == before
    assert half_written(project) == []


def test_dvc_repro_brings_them_back_when_params_cannot_be_read(project: Path) -> None:
    before = outputs(project)
    set_params(seed="zero")()
    done = call(project, "dvc", "repro", "ingest@printed")
    assert done.returncode != 0
    assert "error: params.yaml: seed is 'zero'" in done.stderr
    assert outputs(project) == before


def test_an_edit_while_dvc_repro_runs_is_refused(project: Path) -> None:
    before = outputs(project)
    code = project / "tasks/ingest.py"
    code.write_text(code.read_text().replace(BODY, f"    Path(__file__).open('a').write('# edited')\n{BODY}"))
    done = call(project, "dvc", "repro", "ingest@printed")
    assert done.returncode != 0
    assert "tasks/ingest.py changed while 'ingest@printed' was running" in done.stderr
    assert outputs(project) == before


@pytest.mark.parametrize("debug", [False, True])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(debug: bool, pictures: Path) -> None:
    set_drawn(reader="foldr")()
    done = call(Path(), "tasks.ingest", "drawn", *["--debug"] * debug)
    assert done.returncode == 2
    assert ("Traceback" in done.stderr) is debug
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_a_crash_ends_in_a_traceback_and_exit_code_1(pictures: Path) -> None:
    code = Path("tasks/ingest.py")
    code.write_text(code.read_text().replace(BODY, "    params = 1 / 0\n"))
    done = call(Path(), "tasks.ingest", "drawn")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert half_written(Path()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"datasets": {"drawn": {"path": "pictures/drwan"}}}, ["datasets.drawn", "pictures/drwan", "does not exist"]),
        ({"source": ["drwan"]}, ["source names 'drwan'", "did you mean 'drawn'"]),
        ({"pretrain": {"epoch": 3}}, ["pretrain.epoch", "did you mean 'epochs'"]),
    ],
)
def test_check_finds_it_before_anything_starts(changes: dict[str, Any], words: list[str], pictures: Path) -> None:
    set_params(**changes)()
    done = call(Path(), "tasks.check")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert [word for word in words if word not in done.stderr] == [], done.stderr


def test_mixed_pictures_are_converted_counted_and_quarantined(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(4)
    rest = sorted(pictures.glob("*.png"))[4:9]
    for file, mode in zip(rest, ("RGBA", "I;16", "P", "RGB", "LA"), strict=True):
        Image.open(file).convert("L").resize((20, 12)).convert(mode).save(file)
    run_stage("ingest@drawn")
    card = json.loads(Path("datasets/drawn/card.json").read_text())
    assert [row["path"] for row in card["quarantined"]] == ["000.png", "001.png", "002.png", "003.png"]
    text, cut = (card["quarantined"][index]["reason"] for index in (0, 1))
    assert text.startswith("not a")
    assert cut == "truncated or corrupt"
    assert card["num_images"] == 92
    assert set(card["converted"]) >= {"RGBA", "P", "RGB", "LA"}
    assert sum(card["converted"].values()) == 5
    said = capsys.readouterr().out
    assert "2 quarantined: not a" in said
    assert "1 of mode RGBA converted" in said


def test_nulls_are_not_labelled(pictures: Path) -> None:
    edit_table("drawn", lambda table: table.assign(shape=table["shape"].where(table.index % 2 == 0)))()
    run_stage("ingest@drawn")
    described = json.loads(Path("datasets/drawn/card.json").read_text())["labels"]["shape"]
    assert (described["num_labelled"], described["num_missing"]) == (48, 48)
