"""Projects as DVC allows them, which the tests plan and run: what each needs of dvc.yaml, and its further files."""

import json
from pathlib import Path
from typing import Any

COPY = "mkdir -p made && cat {} > made/{}"
Project = tuple[dict[str, Any], dict[str, str]]


def _stage(name: str, *deps: str, **more: Any) -> dict[str, Any]:
    """Return a stage that writes what it reads into an output."""
    cmd = COPY.format(" ".join(deps) or "/dev/null", f"{name}.txt")
    return {"cmd": cmd, "deps": [*deps], "outs": [f"made/{name}.txt"], **more}


PROJECTS: dict[str, Project] = {
    "foreach over a mapping": (
        {"stages": {"ingest": {"foreach": "${datasets}", "do": _stage("ingest-${key}", "${item.path}")}}},
        {},
    ),
    "foreach over a list": (
        {"stages": {"listed": {"foreach": ["a", 1], "do": _stage("listed-${item}", "params.yaml")}}},
        {},
    ),
    "matrix": (
        {
            "stages": {
                "grid": {
                    "matrix": {"seed": [0, 1], "name": ["a"]},
                    **_stage("grid-${item.seed}-${item.name}", "toy.py"),
                }
            }
        },
        {},
    ),
    "parameters of other files": (
        {
            "stages": {
                "parameters": _stage(
                    "parameters", params=[{"o.toml": ["a.b"]}, {"o.json": ["c"]}, {"o.py": ["D"]}, {"o.yaml": None}]
                )
            }
        },
        {"o.toml": "[a]\nb = 1\n", "o.json": '{"c": [1]}', "o.py": "D = 3\n", "o.yaml": "e: {f: 4}\n"},
    ),
    "no parameters": ({"stages": {"plain": _stage("plain", "toy.py")}}, {}),
    "parameters alone": ({"stages": {"alone_params": {**_stage("ap", params=["seed"]), "deps": []}}}, {}),
    "a stage that always runs": ({"stages": {"always": _stage("always", "toy.py", always_changed=True)}}, {}),
    "a stage of a command alone": ({"stages": {"callback": {"cmd": "true"}}}, {}),
    "a list of commands": (
        {"stages": {"both": {**_stage("both", "toy.py"), "cmd": ["true", COPY.format("toy.py", "both.txt")]}}},
        {},
    ),
    "metrics in YAML and TOML": (
        {
            "stages": {
                "score": {
                    "cmd": "mkdir -p made && echo 'a: {b: 1.5}' > made/m.yaml && echo 'c = 2' > made/m.toml",
                    "deps": ["toy.py"],
                    "metrics": ["made/m.yaml", {"made/m.toml": {"cache": False}}],
                }
            }
        },
        {},
    ),
    "a frozen stage": (
        {"stages": {"frozen": _stage("frozen", "toy.py", frozen=True)}},
        {"made/frozen.txt": "as it was"},
    ),
    "a working directory": (
        {
            "stages": {
                "within": {"wdir": "inner", "cmd": "cat in.txt > out.txt", "deps": ["in.txt"], "outs": ["out.txt"]}
            }
        },
        {"inner/in.txt": "in\n"},
    ),
    "a folder with stages of its own": (
        {"stages": {"user": _stage("user", "sub/b.txt")}},
        {
            "sub/in.txt": "in\n",
            "sub/dvc.yaml": """
stages:
  b: {cmd: cat a.txt > b.txt, deps: [a.txt], outs: [b.txt]}
  a: {cmd: cat in.txt > a.txt, deps: [in.txt], outs: [a.txt]}
  nobody: {cmd: exit 1, deps: [in.txt], outs: [nobody.txt]}
""",
        },
    ),
    "outputs that stay, or that git keeps": (
        {
            "stages": {
                "kept": {**_stage("kept", "toy.py"), "outs": [{"made/kept.txt": {"persist": True, "cache": False}}]}
            }
        },
        {},
    ),
    "a folder as an output": (
        {
            "stages": {
                "folder": {"cmd": "mkdir -p made/f/g && cp toy.py made/f/g", "deps": ["toy.py"], "outs": ["made/f"]}
            }
        },
        {},
    ),
    "values of its own": (
        {"vars": ["v.yaml", {"w": {"x": "toy.py"}}], "stages": {"valued": _stage("valued-${v}", "${w.x}")}},
        {"v.yaml": "v: 7\n"},
    ),
    "what is said of the whole": (
        {
            "stages": {"whole": _stage("whole", "toy.py", desc="it is said", meta={"mine": [1]})},
            "params": ["o2.toml"],
            "metrics": ["made/other.json"],
            "plots": [{"made/p.csv": {"x": "a", "y": "b"}}],
            "artifacts": {"best": {"path": "made/whole.txt", "type": "model"}},
        },
        {"o2.toml": "z = 1\n"},
    ),
}


def write(folder: Path, project: Project) -> None:
    """Write the files of ``project`` into a toy project."""
    whole, files = project
    for name, text in {**files, "dvc.yaml": json.dumps(whole)}.items():  # JSON is YAML
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def merged(projects: list[Project]) -> Project:
    """Return one project that has all of ``projects``."""
    whole: dict[str, Any] = {"stages": {}}
    files: dict[str, str] = {}
    for parts, more in projects:
        for key, part in parts.items():
            if isinstance(part, dict):
                whole.setdefault(key, {}).update(part)
            else:
                whole.setdefault(key, []).extend(part)
        files.update(more)
    return whole, files
