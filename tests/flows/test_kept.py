import subprocess
import sys
from pathlib import Path

import pytest

from flows.publish import picture
from flows.publish.kept import FOLDER, kept_map
from tasks import roles
from tasks.params import check_params
from tests.flows.conftest import ROOT

FILES = ("projection.parquet", "datasets/a/table.parquet", "datasets/a/card.json", "datasets/b/table.parquet")


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """The labels that maps were drawn by, in a project with made-up inputs of the map."""
    monkeypatch.chdir(tmp_path)
    for name in (*FILES, "datasets/b/card.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    labels = []
    monkeypatch.setattr(roles, "read_both", lambda *_: (None, None))
    monkeypatch.setattr(picture, "draw_map", lambda _, __, label: labels.append(label) or f"map{len(labels)}".encode())
    return labels


def kept(**changes):
    specs = {name: {"reader": "folder", "path": "x"} for name in ("s", "a", "b")}
    blocks = {"datasets": specs, "source": ["s"], "target": ["a", "b"], "labels": {"digit": "multiclass"}}
    return kept_map(Path("projection.parquet"), check_params({**blocks, **changes}))


def test_a_map_is_drawn_once(drawn):
    assert kept() == kept() == b"map1"
    assert drawn == ["digit"]


@pytest.mark.parametrize("file", FILES)
def test_a_map_of_something_else_is_drawn_anew(drawn, tmp_path, file):
    kept()
    (tmp_path / file).write_text("edited")
    assert kept() == b"map2"
    assert len(list((tmp_path / FOLDER).iterdir())) == 1, "only the last one is kept"


@pytest.mark.parametrize("changes", [{"labels": {"kind": "binary"}}, {"labels": {}}, {"target": ["a"]}])
def test_a_map_by_another_label_or_of_other_datasets_is_drawn_anew(drawn, changes):
    kept()
    assert kept(**changes) == b"map2"


@pytest.mark.parametrize("module", ["flows.pipeline", "flows.repo.plan", "flows.repo.repro", "tasks.check"])
def test_what_starts_often_imports_nothing_slow(module):
    look = f"import sys, {module}; print(sorted({{'torch', 'pandas', 'numpy', 'PIL'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "[]\n"
