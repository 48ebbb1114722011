"""The package that pip makes of this project, and the command that it brings."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest

from benchmarks.scratch import ROOT
from flows.__main__ import COMMANDS

PACKAGES = ("flows", "tasks", "pipeline_lib")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made as pip makes it, of a copy, and without the network."""
    pytest.importorskip("setuptools", reason="the build backend is not installed, and nothing is downloaded here")
    sources = tmp_path_factory.mktemp("sources")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, sources)
    code = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    subprocess.run([sys.executable, "-c", code], cwd=sources, check=True, capture_output=True)
    return next(sources.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip has put the wheel alone."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    return folder


def graftline(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Type `graftline` in ``folder``, where nothing but the installed package is to be found."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    return subprocess.run(
        [installed / "bin/graftline", *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_package_has_all_files_of_the_project_and_no_others(wheel: Path) -> None:
    there = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = (file for name in PACKAGES for file in (ROOT / name).rglob("*") if file.is_file())
    assert there == {str(file.relative_to(ROOT)) for file in files if "__pycache__" not in file.parts}
    assert "pipeline_lib/report/templates/page.html" in there


def test_the_package_says_its_version_its_extras_and_its_licences(wheel: Path) -> None:
    metadata = {Path(name).name: name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" in name}
    assert {"LICENSE", "NOTICE"} <= metadata.keys()
    text = zipfile.ZipFile(wheel).read(metadata["METADATA"]).decode()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nVersion: {version}\n" in text
    assert set(re.findall(r"^Provides-Extra: (.*)$", text, re.MULTILINE)) == {
        "dask",
        "excel",
        "export",
        "fast",
        "multitask",
        "ray",
    }


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_alone_it_lists_its_commands_anywhere(installed: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    said = graftline(installed, tmp_path, *arguments)
    assert said.returncode == 0, said.stderr
    assert re.findall(r"^  (\w+) +\S", said.stdout, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("plan", "this folder has no dvc.yaml, so it is no project: change to a clone of graftline"),
        ("plam", "there is no command 'plam'; did you mean 'plan'?"),
        ("x", "there is no command 'x': graftline lists them all"),
    ],
)
def test_what_it_cannot_do_is_one_sentence(installed: Path, tmp_path: Path, command: str, sentence: str) -> None:
    said = graftline(installed, tmp_path, command)
    assert (said.returncode, said.stdout, said.stderr) == (2, "", f"error: {sentence}\n")
    assert list(tmp_path.iterdir()) == [], "nothing is left where there is no project"


def test_in_a_project_it_runs_the_code_of_that(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/__main__.py").write_text("import sys; print('own', *sys.argv[1:])")
    (tmp_path / "flows/__init__.py").write_text("")
    assert graftline(installed, tmp_path, "plan", "--debug").stdout == "own plan --debug\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_how_it_is_called(command: str) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "flows", command, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert said.stdout.startswith(f"usage: graftline {command} "), said.stderr


def test_the_notice_names_every_licence_that_asks_for_more_than_its_text() -> None:
    notice = (ROOT / "NOTICE").read_text()
    pins = set(re.findall(r"^([a-z0-9._-]+)(?:\[.*\])?==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    for name, licence in licences():
        if name in pins and re.search(r"GPL|EPL|MPL|Mozilla|Zope|Artistic|Proprietary", licence):
            known = name if not name.startswith("nvidia-") else "nvidia-*"
            assert re.search(rf"(?<![\w-]){re.escape(known)}(?![\w-])", notice), f"{name}: {licence}"


def licences() -> Iterator[tuple[str, str]]:
    """The installed packages, in the spelling of the lock, with what their metadata says of their licences."""
    for one in distributions():
        classifiers = [line for line in one.metadata.get_all("Classifier") or [] if line.startswith("License")]
        # Some have the whole text of a licence where its name belongs.
        fields = (one.metadata.get(key) or "" for key in ("License-Expression", "License"))
        said = [*(field.splitlines()[0] for field in fields if field), *classifiers]
        yield re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower(), " ".join(said)
