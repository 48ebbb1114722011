import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.machine.lock import hold
from flows.repo.worktree import remove, worktree
from pipeline_lib.core.errors import UserError
from tests.flows.conftest import ROOT, edit, repro, starts


def commit(project):
    subprocess.run(["git", "add", "-A"], cwd=project, check=True)
    subprocess.run(["git", "commit", "-q", "-m", "more"], cwd=project, check=True)


def dvc(project, *arguments):
    ended = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=project, check=True, capture_output=True)
    return ended.stdout.decode().strip()


def test_a_worktree_runs_what_is_committed_with_the_results_of_all(finished):
    edit(finished, "title: toy", "title: edited")
    path = worktree("nightly")
    assert path.is_absolute()
    assert "title: toy" in (path / "params.yaml").read_text()
    assert "title: edited" in Path("params.yaml").read_text(), "nobody's edits are disturbed"
    repro(path)
    assert not (path / "starts-join").exists(), "what this repository has run is restored"
    assert (path / "out/join.txt").exists()


def test_a_worktree_follows_the_commits_and_keeps_what_is_up_to_date(finished):
    path = worktree("nightly")
    repro(path)
    (path / "params.yaml").write_text("stray")
    edit(finished, "title: toy", "title: other")
    commit(finished)
    assert worktree("nightly") == path
    assert "title: other" in (path / "params.yaml").read_text()
    repro(path)
    assert starts(path, "join") == 1
    worktree("nightly", "HEAD~1")
    assert "title: toy" in (path / "params.yaml").read_text()


def test_data_that_dvc_tracks_and_a_remote_nearby_are_found(finished):
    Path("images").mkdir()
    Path("images/one.txt").write_text("one")
    dvc(finished, "add", "-q", "images")
    dvc(finished, "remote", "add", "-q", "-d", "shared", "../shared")
    commit(finished)
    path = worktree("a/b")
    assert (path / "images/one.txt").read_text() == "one"
    assert dvc(path, "remote", "list").split()[:2] == ["shared", str(finished.parent / "shared")]


def test_a_worktree_at_work_is_left_alone(finished):
    path = worktree("nightly")
    with hold(path / ".graftline/flow.lock", "taken"), pytest.raises(UserError, match="another run is at work"):
        worktree("nightly")


def test_a_worktree_whose_record_was_cut_short_is_healed(finished):
    path = worktree("nightly")
    repro(path)
    (path / "dvc.lock").write_text("schema: '2.0'\nstages:\n  al")  # a killed run left it so
    assert worktree("nightly") == path
    assert (path / ".graftline/broken/dvc.lock.1").exists()
    repro(path)
    assert not (path / "starts-join").exists(), "all is in the cache"


def test_a_folder_in_the_place_of_a_worktree_leaves_the_clone_alone(finished):
    edit(finished, "title: toy", "title: edited")
    place = Path(".graftline/worktrees/nightly")
    place.mkdir(parents=True)
    (place / "left").touch()
    with pytest.raises(UserError, match=r"git cannot make or remove the worktree: .*already exists"):
        worktree("nightly")
    assert "title: edited" in Path("params.yaml").read_text()


def nightly(project, *arguments):
    command = [sys.executable, "-m", "flows.repo.worktree", "nightly", *arguments]
    return subprocess.run(
        command, cwd=project, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def title(path):
    return next(line for line in (Path(path) / "params.yaml").read_text().splitlines() if "title:" in line).strip()


def test_the_branch_is_run_as_others_have_pushed_it(finished, tmp_path):
    git = ["git", "-c", "user.name=toy", "-c", "user.email=toy@localhost"]
    subprocess.run(["git", "branch", "-q", "-M", "main"], check=True)
    commit(finished)
    subprocess.run(["git", "clone", "-q", "--bare", ".", str(tmp_path / "shared")], check=True)
    subprocess.run(["git", "remote", "add", "origin", str(tmp_path / "shared")], check=True)
    subprocess.run(["git", "clone", "-q", str(tmp_path / "shared"), str(tmp_path / "colleague")], check=True)

    def push(old, new):
        edit(tmp_path / "colleague", f"title: {old}", f"title: {new}")
        for arguments in (["commit", "-qam", new], ["push", "-q", "origin", "HEAD"]):
            subprocess.run([*git, *arguments], cwd=tmp_path / "colleague", check=True)

    push("toy", "pushed")
    ended = nightly(finished, "--branch", "main")
    path = ended.stdout.removesuffix("\n")
    assert Path(path).is_dir(), "the path alone is printed"
    assert (title(path), ended.stderr) == ("title: pushed", "")
    assert title(finished) == "title: toy", "the clone stays as it is"
    push("pushed", "later")
    (tmp_path / "shared").rename(tmp_path / "away")
    ended = nightly(finished, "--branch", "main")
    assert (title(path), ended.stdout) == ("title: pushed", f"{path}\n"), "what is known runs"
    assert "'main' could not be fetched from 'origin'" in ended.stderr
    assert ended.stderr.count("\n") == 1
    (tmp_path / "away").rename(tmp_path / "shared")
    nightly(finished, "--branch", "main")
    assert title(path) == "title: later"


def test_without_a_remote_the_branch_is_the_one_here(finished):
    subprocess.run(["git", "branch", "-q", "-M", "main"], check=True)
    subprocess.run(["git", "checkout", "-q", "-b", "other"], check=True)
    edit(finished, "title: toy", "title: other")
    commit(finished)
    ended = nightly(finished, "--branch", "main")
    assert (title(ended.stdout.strip()), ended.stderr) == ("title: toy", "")


def test_a_worktree_is_removed_unless_a_run_is_in_it(finished):
    path = worktree("sweeps/one")
    with hold(path / ".graftline/flow.lock", "taken"), pytest.raises(UserError, match="another run is at work"):
        remove("sweeps/one")
    command = [sys.executable, "-c", "print(flush=True); input()", "dvc"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as dvc:
        dvc.stdout.readline()  # until it runs, it has no command line to be known by
        used = {"write": {str(path / "out"): {"pid": dvc.pid, "cmd": "dvc repro"}}, "read": {}}
        (path / ".dvc/tmp/rwlock").write_text(json.dumps(used))
        with pytest.raises(UserError, match="another run is at work"):
            remove("sweeps/one")
        dvc.communicate(b"\n")
    remove("sweeps/one")
    assert not path.exists()
    listed = subprocess.run(["git", "worktree", "list"], capture_output=True, text=True, check=True).stdout
    assert "sweeps/one" not in listed
    remove("sweeps/one")  # again does nothing
    assert worktree("sweeps/one") == path


@pytest.mark.parametrize(
    ("name", "at", "sentence"),
    [("nightly", "nope", "git knows no commit 'nope'"), ("../up", "HEAD", "cannot be the name")],
)
def test_what_cannot_be_is_refused(finished, name, at, sentence):
    with pytest.raises(UserError, match=sentence):
        worktree(name, at)


def test_a_folder_without_git_or_dvc_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="not a git repository"):
        worktree("nightly")
    subprocess.run(["git", "init", "-q"], check=True)
    with pytest.raises(UserError, match="git knows no commit 'HEAD': commit something"):
        worktree("nightly")
    who = ["-c", "user.name=toy", "-c", "user.email=toy@localhost"]
    subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    with pytest.raises(UserError, match="not the root of a DVC repository"):
        worktree("nightly")
