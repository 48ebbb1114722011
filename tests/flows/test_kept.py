import subprocess
import sys

import pytest

from flows import picture
from flows.kept import FOLDER, kept_map
from tests.flows.conftest import ROOT


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """The labels that maps were drawn by, in a project with made-up inputs of the map."""
    monkeypatch.chdir(tmp_path)
    for name in ("projection.parquet", "table.parquet", "card.json"):
        (tmp_path / name).write_text(name)
    labels = []
    monkeypatch.setattr(picture, "draw_map", lambda _, __, label: labels.append(label) or f"map{len(labels)}".encode())
    return labels


def kept(project, label="digit"):
    return kept_map(project / "projection.parquet", project, label)


def test_a_map_is_drawn_once(drawn, tmp_path):
    assert kept(tmp_path) == kept(tmp_path) == b"map1"
    assert drawn == ["digit"]


@pytest.mark.parametrize("file", ["projection.parquet", "table.parquet", "card.json"])
def test_a_map_of_something_else_is_drawn_anew(drawn, tmp_path, file):
    kept(tmp_path)
    (tmp_path / file).write_text("edited")
    assert kept(tmp_path) == b"map2"
    assert len(list((tmp_path / FOLDER).iterdir())) == 1, "only the last one is kept"


def test_a_map_by_another_label_is_drawn_anew(drawn, tmp_path):
    kept(tmp_path)
    assert kept(tmp_path, "kind") == b"map2"


@pytest.mark.parametrize("module", ["flows.transfer", "flows.plan", "tasks.check"])
def test_what_starts_often_imports_nothing_slow(module):
    look = f"import sys, {module}; print(sorted({{'torch', 'pandas', 'numpy', 'PIL'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "[]\n"
