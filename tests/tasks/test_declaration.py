"""tasks/declaration.py resolves dvc.yaml as DVC itself does."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scratch import ROOT
from pipeline_lib.core.errors import UserError
from tasks.declaration import Declaration, read_declaration, read_stages
from tasks.yaml_files import DVC_FILE, PARAMS_FILE

PARAMS = """
seed: 0
seeds: [0, 1]
rate: 1e-3
on: true
datasets:
  mnist: {path: a.lock, size: 28, levels: [0, 255]}
  digits: {path: b.lock, size: 20}
encoders: [{name: cnn, dims: 32}, {name: vit, dims: 64}]
block: {lr: 0.1, big: false, words: [a, b]}
"""
PROJECTS = {
    "plain": """
stages:
  first: {cmd: python first.py, deps: [a.lock], params: [seed, block.lr], outs: [out/first]}
  second:
    cmd: [echo one, "echo ${block.lr}"]
    deps: [out/first, "${datasets.mnist.path}"]
    params: [block]
    outs: [out/second: {cache: false}]
    metrics: [metrics/second.json: {cache: false}]
    plots: [plots/second.csv: {x: epoch, y: loss}]
    meta: {gpu: true, size: "${datasets.mnist.size}"}
""",
    "foreach over a mapping": """
stages:
  ingest:
    foreach: ${datasets}
    do:
      cmd: python ingest.py ${key} --size ${item.size}
      deps: ["${item.path}"]
      params: ["datasets.${key}", seed]
      outs: ["datasets/${key}"]
""",
    "foreach over lists": """
stages:
  plain: {foreach: "${seeds}", do: {cmd: "echo ${item}", outs: ["out/plain/${item}"]}}
  written: {foreach: [a, 1.5, true, null, 1e3], do: {cmd: "echo ${item}", outs: ["out/written/${item}"]}}
  composite:
    foreach: ${encoders}
    do: {cmd: "echo ${item.name} ${item.dims}", outs: ["out/composite/${item.name}"]}
  mixed: {foreach: [1, {name: x}], do: {cmd: echo, outs: []}}
  by_name: {foreach: {a: {n: 1}, b: {n: 2}}, do: {cmd: "echo ${key} ${item.n}", outs: ["out/by_name/${key}"]}}
  empty: {foreach: [], do: {cmd: echo}}
""",
    "matrix": """
stages:
  train:
    matrix: {encoder: "${encoders}", seed: "${seeds}", rate: [1e-3, 0.5]}
    cmd: python train.py ${item.encoder.name} ${item.seed} ${item.rate} ${key}
    deps: [a.lock]
    params: [block.lr]
    outs: ["models/${key}"]
    metrics: ["metrics/${item.encoder.name}/${item.seed}-${item.rate}.json"]
  one:
    matrix: {seed: "${seeds}"}
    cmd: python one.py ${item.seed}
    deps: ["models/encoder0-${item.seed}-0.5"]
    outs: ["one/${item.seed}"]
""",
    "all kinds of expressions": r"""
stages:
  list_items: {cmd: "echo ${encoders[1].name} ${encoders.0.dims} ${datasets.mnist.levels[1]}", outs: [out/a]}
  numbers: {cmd: "echo ${rate} ${on} ${block.big}", deps: ["${datasets.digits.path}"], outs: [out/b]}
  escaped: {cmd: 'echo \${HOME} ${seed}', outs: ["out/${seed}/c"]}
""",
    "vars": """
vars: [{folder: made, inner: {a: 1}}, {inner: {b: 2}}, "more.yaml", "other.yaml:name"]
stages:
  first: {cmd: "echo ${name} ${more.x} ${inner.a} ${inner.b}", outs: ["${folder}/first"]}
""",
    "vars of a stage": """
vars: [{inner: {a: 1}}]
stages:
  first: {cmd: "echo ${inner.a} ${inner.b} ${own}", vars: [{inner: {b: 2}, own: 3}], outs: [first]}
  below: {cmd: "echo ${deep}", wdir: sub, vars: [deep.yaml], outs: [made]}
  each:
    foreach: [a, b]
    do: {cmd: "echo ${item} ${own}", vars: [{own: 4}], outs: ["${item}"]}
""",
    "parameters in other files and folders": """
stages:
  first:
    cmd: echo
    params: [seed, {other.yaml: [name]}, {params.yaml: [rate]}]
    outs: [out/first]
  below: {cmd: echo, wdir: sub, deps: [../a.lock, in.txt], outs: [made]}
""",
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a DVC repository without git, in which the test is."""
    monkeypatch.chdir(tmp_path)
    PARAMS_FILE.write_text(PARAMS)
    Path("more.yaml").write_text("more: {x: 7}\n")
    Path("other.yaml").write_text("name: other\nunread: 0\n")
    Path("sub").mkdir()
    Path("sub/deep.yaml").write_text("deep: 5\n")
    return tmp_path


def of_dvc() -> dict[str, Declaration]:
    """The stages as DVC's index has them, in the order of their addresses."""
    from dvc.repo import Repo

    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], check=True)
    found = {}
    with Repo() as repo:
        for stage in repo.index.stages:
            params = {Path(str(dep)).as_posix(): dep.params for dep in stage.deps if hasattr(dep, "params")}
            own = params.pop(str(PARAMS_FILE), [])
            found[stage.addressing] = Declaration(
                address=stage.addressing,
                cmd=stage.cmd if isinstance(stage.cmd, str) else "\n".join(stage.cmd),
                params=tuple(own),
                params_files=tuple(params),
                deps=tuple(str(dep) for dep in stage.deps if not hasattr(dep, "params")),
                outs=tuple(map(str, stage.outs)),
                metrics=tuple(str(out) for out in stage.outs if out.metric),
                meta=stage.meta,
            )
    return found


def comparable(stage: Declaration) -> tuple[object, ...]:
    """What DVC leaves in no certain order is sorted."""
    outs, metrics = sorted(stage.outs), sorted(stage.metrics)
    return (stage.cmd, sorted(stage.params), stage.params_files, sorted(stage.deps), outs, metrics, stage.meta)


def same_as_dvc() -> None:
    ours, theirs = read_stages(), of_dvc()
    assert sorted(ours) == sorted(theirs)
    for address, stage in ours.items():
        assert comparable(stage) == comparable(theirs[address]), address


@pytest.mark.parametrize("text", PROJECTS.values(), ids=PROJECTS)
def test_stages_are_those_of_dvc(text: str) -> None:
    DVC_FILE.write_text(text)
    same_as_dvc()


def test_the_stages_of_the_project_are_those_of_dvc() -> None:
    for name in (DVC_FILE, PARAMS_FILE):
        name.write_text((ROOT / name).read_text())
    PARAMS_FILE.write_text(PARAMS_FILE.read_text().replace("\nseeds: [0]", "\nseeds: [0, 1, 2]"))
    same_as_dvc()
    assert {"ingest@mnist", "pretrain@0", "pretrain@2", "report"} <= set(read_stages())


def test_an_unknown_address_names_the_nearest() -> None:
    DVC_FILE.write_text("stages: {train: {matrix: {seed: [0]}, cmd: echo}}")
    assert read_declaration("train@0").cmd == "echo"
    for wrong in ("train", "train@00", "trian@0"):
        with pytest.raises(UserError, match=f"has no stage '{wrong}'; did you mean 'train@0'"):
            read_declaration(wrong)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"^dvc\.yaml is empty: bring it back"),
        ("# nothing\n", r"^dvc\.yaml must hold a mapping"),
        ("stages: {}", r"^dvc\.yaml has no stages"),
        ("plots: []", r"^dvc\.yaml has no stages"),
        ("stages: {a: }", "the stage 'a' is None, but must be a mapping with a cmd"),
        ("stages: {a: {outs: [x]}}", "the stage 'a' has no cmd"),
        ("stages: {a: {foreach: 3, do: {cmd: x}}}", "goes through 3 by foreach, which takes a list or a mapping"),
        ("stages: {a: {foreach: '${seed}', do: {cmd: x}}}", "goes through 0 by foreach"),
        ("stages: {a: {foreach: '${sedes}', do: {cmd: x}}}", r"params\.yaml: the key 'sedes' is missing"),
        ("stages: {a: {foreach: [1]}}", "has foreach without do"),
        ("stages: {a: {matrix: [1], cmd: x}}", "has the matrix .* which takes a list for each name"),
        ("stages: {a: {matrix: {x: '${seed}'}, cmd: x}}", "has the matrix .* which takes a list for each name"),
        ("stages: {a: {foreach: '${datasets}', do: {cmd: x, deps: ['${item.no}']}}}", "the key 'item.no' is missing"),
        ("stages: {a: {cmd: x, deps: ['']}}", "the stage 'a' lists '' under deps"),
        ("stages: {a: {cmd: x, deps: ['${datasets}']}}", "lists {'mnist'.* under deps"),
        ("stages: {a: {cmd: x, deps: [3]}}", "lists 3 under deps"),
        ("stages: {a: {cmd: x, outs: y}}", "has 'y' under outs, which takes a list"),
        ("stages: [", r"dvc\.yaml, line 1: not valid YAML"),
    ],
)  # fmt: skip
def test_what_cannot_be_resolved_is_one_sentence(text: str, sentence: str) -> None:
    DVC_FILE.write_text(text)
    with pytest.raises(UserError, match=sentence) as caught:
        read_stages()
    assert "\n" not in str(caught.value)
