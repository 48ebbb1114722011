"""Rules of the house that no linter knows."""

import ast
import re
import sys
import textwrap
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.scratch import ROOT
from flows.__main__ import COMMANDS
from pipeline_lib.core.registry import with_options

PACKAGES = ("flows", "tasks", "pipeline_lib", "benchmarks")
SOURCES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
LOCKS = ("requirements.lock", "requirements-dev.lock")
WORKFLOW = ".github/workflows/ci.yml"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def calls(file: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("file", SOURCES, ids=name)
def test_nothing_is_unpickled(file: Path) -> None:
    imports = {module.split(".")[0] for module in imported(file)}
    assert not imports & {"pickle", "cloudpickle", "dill", "joblib", "shelve"}
    for call in calls(file):
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        called = ast.unparse(call.func)
        if called == "torch.load":
            assert keywords.get("weights_only") == "True", f"line {call.lineno}"
        if called == "np.load":
            assert keywords.get("allow_pickle", "False") == "False", f"line {call.lineno}"
        assert called not in {"eval", "exec", "pd.read_pickle", "yaml.load"}, f"line {call.lineno}"


@pytest.mark.parametrize("file", [file for file in SOURCES if file.parent.name != "benchmarks"], ids=name)
def test_files_stay_short(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 300


@pytest.mark.parametrize("file", SOURCES, ids=name)
def test_registries_are_dicts_and_not_decorators(file: Path) -> None:
    decorators = [
        ast.unparse(decorator)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        for decorator in node.decorator_list
    ]
    assert not [decorator for decorator in decorators if "register" in decorator]


def test_every_knob_has_a_comment() -> None:
    """A key is explained where it first stands; its second use in a block of the same kind need not be."""
    found = re.findall(r"^ *(\w+):(.*)", (ROOT / "params.yaml").read_text(), re.MULTILINE)
    explained = {key for key, rest in found if "#" in rest}
    blocks = {key for key, rest in found if not rest}
    own = {"digit", "has_loop", "stroke_thickness"}  # one's own labels, explained by the block they are in
    assert {key for key, _ in found} - explained - blocks - own == set()


def pins(lock: str) -> dict[str, str]:
    """Every package of a lock, as `name==version` and what else decides where it is installed, with its hashes."""
    entries = re.split(r"\n(?=\S)", (ROOT / lock).read_text().strip())
    return dict(entry.split(" \\\n", 1) for entry in entries if not entry.startswith("#"))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_a_hash(lock: str) -> None:
    assert len(pins(lock)) > 30
    for pin, hashes in pins(lock).items():
        assert re.match(r"[a-z0-9._-]+(\[[\w,-]+\])?==\S+", pin), pin
        assert "--hash=sha256:" in hashes, pin


def test_the_run_time_is_locked_apart_from_the_tools_of_developers() -> None:
    run_time, tools = ({pin.split("==")[0]: pin for pin in pins(lock)} for lock in LOCKS)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert declared(project["project"]["dependencies"]) <= run_time.keys()
    assert declared(project["build-system"]["requires"]) <= run_time.keys(), "make and Docker download nothing else"
    assert declared(project["dependency-groups"]["dev"]) <= tools.keys() - run_time.keys()
    versions = [{pin.split(" ;")[0] for pin in pins(lock)} for lock in LOCKS]
    shared = {pin for pin in versions[1] if pin.split("==")[0] in run_time}
    assert shared <= versions[0], "both can be installed into one environment"


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_what_is_imported_is_declared(package: str) -> None:
    """Not by luck of what another package brings, which its next version may not."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    outside = package in ("benchmarks", "tests")
    more = project["dependency-groups"] if outside else project["project"]["optional-dependencies"]
    allowed = declared([*project["project"]["dependencies"], *chain.from_iterable(more.values())])
    found = {module.split(".")[0] for file in (ROOT / package).rglob("*.py") for module in imported(file)}
    for module in found - sys.stdlib_module_names - {*PACKAGES, "tests"}:
        bringing = declared(installed().get(module, [module]))
        assert bringing & allowed, f"{module} of {bringing} is not declared in pyproject.toml"


installed = cache(packages_distributions)


def declared(requirements: list[str]) -> set[str]:
    """The names of the packages, in the spelling of a lock."""
    names = (re.match(r"[\w.-]+", requirement) for requirement in requirements)
    return {re.sub(r"[-_.]+", "-", name[0]).lower() for name in names if name}


def imported(file: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return whole | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("file", [*LOCKS, "pyproject.toml", "Makefile", ".ci/run", "Dockerfile", WORKFLOW])
def test_no_address_of_an_index(file: str) -> None:
    # Continued in two parts, so that this file does not name them either.
    options = ("index-" + "url", "find-" + "links", "extra-" + "index")
    text = (ROOT / file).read_text().replace("--no-emit-" + "index-url", "")
    assert not [option for option in options if option in text]
    assert not re.search(r"https?://|file://| @ ", text)


def targets() -> dict[str, str]:
    """The targets of the Makefile with what they say of themselves."""
    return dict(re.findall(r"^([a-z]+):.*?(?:## +(.*))?$", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_help_explains_every_target_but_the_inner_one() -> None:
    assert {target for target, text in targets().items() if not text} == {"project"}


@pytest.mark.parametrize("file", DOCUMENTS, ids=name)
def test_commands_in_documents_exist(file: Path) -> None:
    text = file.read_text()
    for target in re.findall(r"\bmake ([a-z]+)\b", "\n".join(code(text))):
        assert target in targets(), f"there is no target '{target}'"
    for command in re.findall(r"(?:^|\.venv/bin/)graftline ([a-z]+)", "\n".join(code(text)), re.MULTILINE):
        assert command in COMMANDS, f"there is no command '{command}'"
    for module in re.findall(rf"python -m ((?:{'|'.join(PACKAGES)})[\w.]*)", text):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), f"there is no module {module}"


def test_the_workflow_runs_targets_that_there_are() -> None:
    assert set(re.findall(r"\bmake ([a-z]+)\b", (ROOT / WORKFLOW).read_text())) <= targets().keys()


@pytest.mark.parametrize("file", DOCUMENTS, ids=name)
def test_links_in_documents_lead_somewhere(file: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)", file.read_text()):
        if not re.match(r"[a-z]+:", link):
            assert (file.parent / link).exists(), f"{link} does not exist"


def test_the_example_method_of_contributing_works() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", textwrap.dedent(fenced("def first(")), re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    images = np.zeros((5, 4, 4, 1), dtype=np.uint8)
    selector = with_options(names["first"], {"skip": 1}, "select.options")
    assert selector(images, images, 3, 0).rows.tolist() == [1, 2, 3]


def fenced(text: str) -> str:
    """The block of CONTRIBUTING.md that holds ``text``, with its fences."""
    blocks = re.findall(r"^ *```.*?^ *```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)
    return next(block for block in blocks if text in block)


def code(markdown: str) -> list[str]:
    """The parts of a document that are set as code."""
    blocks = re.findall(r"```.*?\n(.*?)```", markdown, re.DOTALL)
    return [*blocks, *re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", markdown, flags=re.DOTALL))]
