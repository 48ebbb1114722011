"""dvc.yaml must list the code that each stage imports: less misses edits, more reruns for nothing."""

import ast
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.scratch import ROOT, copy_project
from tasks.declaration import Declaration, read_stages, resolve
from tasks.signature import fingerprint, signature
from tasks.yaml_files import DVC_FILE, PARAMS_FILE, read_yaml

STAGES = resolve(read_yaml(ROOT / DVC_FILE), read_yaml(ROOT / PARAMS_FILE)).values()
PACKAGES = ("tasks", "pipeline_lib")
# Not among the dependencies of any stage, so nothing that a result depends on may be in them.
INNER = {Path("tasks/__init__.py"), Path("tasks/blocks/__init__.py"), Path("pipeline_lib/__init__.py")}


def module_file(name: str) -> Path | None:
    """The file of the project's module ``name``, relative to the root, or None if it is not one."""
    path = Path(*name.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if path.parts[0] in PACKAGES and (ROOT / file).is_file():
            return file
    return None


@cache
def imported(file: Path) -> frozenset[Path]:
    """The project's files that ``file`` names in any import, also inside functions, with their packages."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = [name.split(".") for name in names]
    modules = {".".join(part[:depth]) for part in parts for depth in range(1, len(part) + 1)}
    return frozenset(found for name in modules if (found := module_file(name)))


def closure(file: Path) -> set[Path]:
    """``file`` and all that it imports, directly or not."""
    found, waiting = set(), {file}
    while waiting:
        found |= waiting
        waiting = {name for file in waiting for name in imported(file)} - found
    return found


def as_dependency(file: Path) -> str:
    """A file of tasks as it is; a file of pipeline_lib as its sub-package."""
    return file.as_posix() if file.parts[0] == "tasks" else "/".join(file.parts[:2])


def module_of(stage: Declaration) -> Path:
    """The file of the module that the stage's command runs."""
    words = stage.cmd.split()
    assert words[:2] == ["python", "-m"]
    file = module_file(words[2])
    assert file is not None, f"{words[2]}, which {stage.address} runs, does not exist"
    return file


each_stage = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.address)


@each_stage
def test_deps_are_the_imports(stage: Declaration) -> None:
    code = {as_dependency(file) for file in closure(module_of(stage)) - INNER}
    listed = {dep for dep in stage.deps if dep.split("/")[0] in PACKAGES}
    assert listed == code


@pytest.mark.parametrize("file", sorted(INNER), ids=str)
def test_what_is_left_out_of_the_dependencies_only_sets_the_environment(file: Path) -> None:
    for node in ast.parse((ROOT / file).read_text()).body:
        if isinstance(node, ast.Import):
            continue
        assert isinstance(node, ast.Expr), ast.unparse(node)
        assert isinstance(node.value, ast.Constant) or ast.unparse(node).startswith("os.environ.setdefault(")


@each_stage
def test_what_a_stage_reads_exists_or_is_written_by_a_stage(stage: Declaration) -> None:
    written = [out for other in STAGES for out in other.outs]
    for dep in stage.deps:
        under = [out for out in written if Path(out).is_relative_to(dep)]
        assert under or (ROOT / dep).exists(), f"nothing writes {dep}"


@each_stage
def test_a_stage_writes_what_no_other_one_does(stage: Declaration) -> None:
    others = [Path(out) for other in STAGES if other is not stage for out in other.outs]
    for out in map(Path, stage.outs):
        assert not any(out.is_relative_to(other) or other.is_relative_to(out) for other in others)


# What of a block lies in the datasets too, on which the stage depends: to learn a label elsewhere retrains no encoder.
CARRIED = {"pretrain": {"labels"}}


@each_stage
def test_a_stage_reads_those_parameters_that_dvc_knows_of(stage: Declaration) -> None:
    module = import_module(stage.cmd.split()[2])
    known = {key.split(".")[0] for key in stage.params} | CARRIED.get(stage.address.split("@")[0], set())
    assert set(module.Settings.model_fields) == known


# The stages that read a block, whose results a new key of it, or another default, may change.
READERS = {
    "report": {"report"},
    "evaluate": {"evaluate"},
    "embed": {"embed@0", "compare"},
    "adapt": {"adapt@0", "evaluate"},
    "heads": {"heads@0"},
    "pretrain": {"pretrain@0", "rank"},
    "rank": {"rank"},
    "compare": {"audit", "compare", "rank", "select"},
    "select": {"select"},
    "audit": {"audit"},
    "datasets": {"ingest@mnist", "ingest@digits", "rank"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with something in the place of all that stages depend on."""
    folder = copy_project(tmp_path_factory.mktemp("made"), ROOT / PARAMS_FILE)
    for path in {path for stage in STAGES for path in (*stage.deps, *stage.outs)}:
        if not (folder / path).exists() and not (ROOT / path).is_file():
            (folder / path).mkdir(parents=True)
    return folder


@pytest.mark.parametrize("block", READERS)
def test_a_new_key_of_a_block_is_the_business_of_those_who_read_it(
    block: str, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    file = Path(f"tasks/blocks/{block}.py")
    before, text = fingerprints(), file.read_text()
    file.write_text(f"{text}\n    new: Count = 7\n")
    after = fingerprints()
    file.write_text(text)
    assert {address for address in after if after[address] != before[address]} == READERS[block]


def fingerprints() -> dict[str, str]:
    """The fingerprint of every stage."""
    return {address: fingerprint(signature(stage)) for address, stage in read_stages().items()}
