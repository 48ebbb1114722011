"""Real images laid out as a stranger would have them: a folder of files with a table beside them."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from ruamel.yaml import YAML

from benchmarks.scratch import ROOT, copy_project, environment
from pipeline_lib.core.errors import UserError

TEST_DATA = "GRAFTLINE_TEST_DATA"


def test_data() -> Path:
    """Return the folder of larger test data; UserError where the variable GRAFTLINE_TEST_DATA names none."""
    if not os.environ.get(TEST_DATA):
        raise UserError(f"the variable {TEST_DATA} names no folder of test data: set it")
    return Path(os.environ[TEST_DATA])


def write_folder(folder: Path, images: Iterable[bytes | np.ndarray], table: pd.DataFrame) -> Path:
    """Write images (encoded, or uint8 arrays) with ``table``, a row for each, as labels.csv; return the folder."""
    folder.mkdir(parents=True)
    files = []
    for number, image in enumerate(images):
        if isinstance(image, bytes):
            name = f"{number:05d}.{(Image.open(io.BytesIO(image)).format or 'png').lower()}"
            (folder / name).write_bytes(image)
        else:
            name = f"{number:05d}.png"
            Image.fromarray(image).save(folder / name)
        files.append(name)
    table.assign(file=files).to_csv(folder / "labels.csv", index=False)
    return folder


def read_parquet(path: Path, limit: int | None = None, seed: int = 0) -> tuple[list[bytes], pd.DataFrame]:
    """Return the encoded images of a file in the Hugging Face layout, and the other columns; ``limit`` at random."""
    table = pd.read_parquet(path)
    if limit is not None and limit < len(table):
        table = table.sample(limit, random_state=seed).sort_index()
    return [image["bytes"] for image in table["image"]], table.drop(columns="image").reset_index(drop=True)


def make_project(folder: Path, edit: Callable[[dict[str, Any]], None], base: str = "params.yaml") -> Path:
    """Make a repository of the project in ``folder``, its params.yaml that of ``base`` after ``edit``."""
    editor = YAML()
    params = editor.load((ROOT / base).read_text(encoding="utf-8"))
    edit(params)
    edited = folder.with_suffix(".yaml")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with edited.open("w", encoding="utf-8") as file:
        editor.dump(params, file)
    return copy_project(folder, edited)


def dataset(path: Path, **changes: Any) -> Mapping[str, Any]:
    """Return the block of params.yaml for a folder of images with labels.csv."""
    return {"reader": "folder", "path": str(path), "labels": "labels.csv", **changes}


def call(project: Path, *command: str) -> tuple[int, str, float]:
    """Run ``python -m command`` in ``project``; return its exit code, all that it said, and its seconds."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env=environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, round(time.monotonic() - began, 1)
