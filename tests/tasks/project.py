"""A working directory with a params.yaml, in which one stage at a time can be called."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from ruamel.yaml import YAML

from tasks.params import PARAMS_FILE, read_params
from tasks.stage import Stage

PARAMS: Mapping[str, Any] = {
    "image": {"size": 12, "channels": 1},
    "source": {"reader": "folder", "path": "pictures/source", "labels": "labels.csv", "content": 12},
    "target": {"reader": "folder", "path": "pictures/target", "labels": None, "content": 12},
    "labels": {"place": "multiclass", "light": "regression"},
    "primary": "place",
    "audit": {"sample": 40, "permutations": 10},
}


def write_params(**changes: Mapping[str, Any]) -> None:
    """Write params.yaml into the working directory; ``changes`` are merged into the blocks of PARAMS."""
    blocks = {name: {**block} if isinstance(block, Mapping) else block for name, block in PARAMS.items()}
    for name, change in changes.items():
        blocks[name] = {**blocks.get(name, {}), **change}
    YAML(typ="safe", pure=True).dump(blocks, PARAMS_FILE)


def write_pictures(role: str, images_NHW: np.ndarray, places: list[str | None] | None = None) -> Path:
    """Write PNG files for ``role`` and, where ``places`` are given, its label table; return the folder."""
    folder = Path("pictures") / role
    folder.mkdir(parents=True)
    files = [f"{row:03d}.png" for row in range(len(images_NHW))]
    for file, image in zip(files, images_NHW, strict=True):
        Image.fromarray(image).save(folder / file)
    if places is not None:
        light = images_NHW.mean(axis=(1, 2)) / 255
        pd.DataFrame({"file": files, "place": places, "light": light}).to_csv(folder / "labels.csv", index=False)
    return folder


def call(body: Callable[[Stage], None], *outputs: str) -> None:
    """Call the body of a stage that declares ``outputs``, and publish them."""
    stage = Stage("stage", read_params(), "0" * 16, tuple(map(Path, outputs)))
    body(stage)
    stage.publish()
