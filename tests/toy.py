"""A real project that is small: drawn shapes as source and target, and the whole pipeline over them in seconds."""

import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from ruamel.yaml import YAML

from benchmarks.scratch import ROOT, copy_project, environment

SHAPES = ("circle", "square", "triangle")
SMALL: Mapping[str, Any] = {
    "device": "cpu",
    "image": {"size": 16},
    "datasets": {
        "drawn": {"reader": "folder", "path": "pictures/drawn", "labels": "labels.csv", "content": 16},
        "printed": {
            "reader": "folder",
            "path": "pictures/printed",
            "labels": "labels.csv",
            "content": 14,
            "invert": True,
            "test_fraction": 0.5,
        },
    },
    "source": ["drawn"],
    "target": ["printed"],
    "labels": {"shape": "multiclass", "filled": "binary", "area": "regression"},
    "primary": "shape",
    "audit": {"sample": 60, "permutations": 10},
    "rank": {"sample": 60, "resamples": 4},
    "pretrain": {"epochs": 2, "batch_size": 32},
    "heads": {"epochs": 2, "batch_size": 32},
    "adapt": {"epochs": 2, "batch_size": 32},
    "embed": {"source_sample": 60},
    "evaluate": {"labels_per_class": [1, 2], "repeats": 3, "restarts": 2, "neighbors": 5, "umap_dims": 2},
    "report": {"thumbnails": 20},
}


def make_project(folder: Path) -> Path:
    """Make the toy project in ``folder``: its code, its params.yaml, its pictures, and nothing run yet."""
    copy_project(folder, ROOT / "params.yaml")
    edit_params(folder, _make_small)
    draw_pictures(folder / "pictures/drawn", num=96, size=16, dark_on_light=False, seed=1)
    draw_pictures(folder / "pictures/printed", num=72, size=24, dark_on_light=True, seed=2)
    return folder


def _make_small(params: dict[str, Any]) -> None:
    params["datasets"] = {}
    merge(params, SMALL)


def edit_params(folder: Path, edit: Any) -> None:
    """Let ``edit`` change the mapping that params.yaml holds, and write it back."""
    yaml, path = YAML(typ="rt"), folder / "params.yaml"
    params = yaml.load(path)
    edit(params)
    yaml.dump(params, path)


def merge(params: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Put ``changes`` into ``params``; blocks are merged, except ``labels``, which is replaced, and new datasets."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and key not in ("labels", "options") and isinstance(params.get(key), Mapping):
            merge(params[key], value)
        else:
            params[key] = value


def draw_pictures(folder: Path, *, num: int, size: int, dark_on_light: bool, seed: int) -> None:
    """Draw ``num`` shapes of ``size`` px, in equal parts of each kind, with a labels.csv."""
    folder.mkdir(parents=True)
    rng = random.Random(seed)
    rows = []
    for index in range(num):
        shape, filled = SHAPES[index % 3], index % 2 == 0
        picture = _draw(shape, filled, size, rng)
        if dark_on_light:
            picture = Image.eval(picture, lambda value: 255 - value)
        picture.save(folder / f"{index:03d}.png")
        area = np.asarray(picture).mean() / 255
        rows.append(
            {
                "file": f"{index:03d}.png",
                "shape": shape,
                "filled": "yes" if filled else "no",
                "area": 1 - area if dark_on_light else area,
            }
        )
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)


def shuffle_labels(folder: Path, seed: int = 0) -> None:
    """Give the pictures of ``folder`` one another's labels."""
    table = pd.read_csv(folder / "labels.csv")
    shuffled = table.drop(columns="file").sample(frac=1, random_state=seed).reset_index(drop=True)
    pd.concat([table[["file"]], shuffled], axis=1).to_csv(folder / "labels.csv", index=False)


def start(folder: Path, *command: str) -> "subprocess.Popen[str]":
    """Start ``python -m <command>`` in the project; both streams can be read as text."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", *command], cwd=folder, env=environment(folder), **pipes)


def call(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run ``python -m <command>`` in the project to its end."""
    process = start(folder, *command)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def _draw(shape: str, filled: bool, size: int, rng: random.Random) -> Image.Image:
    scale = 4  # drawn larger and shrunk, for smooth edges
    side = size * scale
    radius = side * rng.uniform(0.25, 0.38)
    x, y = (side / 2 + side * rng.uniform(-0.08, 0.08) for _ in range(2))
    picture = Image.new("L", (side, side), rng.randrange(0, 30))
    draw = ImageDraw.Draw(picture)
    ink = rng.randrange(200, 256)
    style = {"fill": ink if filled else None, "outline": ink, "width": round(side * 0.09)}
    if shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), **style)
    else:
        corners = {"square": 4, "triangle": 3}[shape]
        turn = rng.uniform(-12, 12) + (45 if shape == "square" else 0)
        angles = np.deg2rad(turn - 90 + np.arange(corners) * 360 / corners)
        draw.polygon([(x + radius * np.cos(a), y + radius * np.sin(a)) for a in angles], **style)
    return picture.resize((size, size), Image.Resampling.LANCZOS)
