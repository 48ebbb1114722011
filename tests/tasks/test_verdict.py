import json
import subprocess
import sys

import pytest

from benchmarks.scratch import ROOT
from pipeline_lib.core.errors import UserError
from tasks.verdict import PAGE, SUMMARY, verdict

LINES = ["On 'kind' of the target, this and that.", *(f"Kind {kind}: {'long word ' * 20}held-out." for kind in "abcd")]


@pytest.fixture
def finished(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    SUMMARY.parent.mkdir()
    SUMMARY.write_text(json.dumps({"lines": LINES}))
    PAGE.write_text("<html>")
    return tmp_path


@pytest.mark.parametrize("width", [40, 100])
def test_it_prints_the_lines_wrapped_and_where_the_report_is(width, finished):
    text = verdict(width)
    *told, where = [line for line in text.splitlines() if line]
    assert max(map(len, told)) <= width
    assert " ".join(" ".join(told).replace("- Kind", "Kind").split()) == " ".join(LINES)
    assert where.endswith((finished / PAGE).as_uri())


@pytest.mark.parametrize("path", [SUMMARY, PAGE])
def test_what_is_missing_is_said_with_the_way_out(path, finished):
    path.unlink()
    with pytest.raises(UserError, match=f"{path} is missing.*make run"):
        verdict(80)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"lines": []}', "[]"])
def test_a_damaged_summary_is_said_with_the_way_out(text, finished):
    SUMMARY.write_text(text)
    with pytest.raises(UserError, match=r"verdict\.json is damaged: 'dvc repro report' writes it again"):
        verdict(80)


def test_the_command_ends_with_one_sentence_and_code_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tasks.verdict"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: reports/verdict.json is missing")
    assert done.stderr.count("\n") == 1


def test_it_starts_at_once():
    """What takes long to import stays out."""
    code = "import sys, tasks.verdict; print([name for name in ('numpy', 'pandas', 'pydantic') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
