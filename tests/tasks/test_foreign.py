import errno
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline_lib.core.errors import UserError
from tasks.foreign import DeviceError, damaged, translated


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of_system(number: int, file: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), file)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (of_system(errno.ENOSPC, "models/x"), r"^the disk of .*/models is full: free some space"),
        (RuntimeError("write failed: No space left on device (os error 28)"), r"^the disk of .* is full"),
        (of_system(errno.EDQUOT), r"^your quota on the disk of .* is used up"),
        (of_system(errno.EROFS, "models/x"), r"^the disk of .*/models can only be read"),
        (of_system(errno.EACCES, "models/x"), r"^models/x may not be used here: see to its permissions"),
        (of_system(errno.EMFILE), r"^too many files are open at a time: allow more, as with 'ulimit -n"),
        (of_system(errno.ENAMETOOLONG, "x" * 5000), r"^the name of x+\.\.\.x+ is too long"),
        (MemoryError(), r"^there is not enough memory for this: lower batch_size"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), r"^there is not enough memory"),
    ],
)
def test_what_the_system_refuses_is_the_users_to_mend(error: Exception, sentence: str) -> None:
    found = translated(error)
    assert isinstance(found, UserError)
    with pytest.raises(UserError, match=sentence) as caught:
        raise found
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text", ["CUDA error: unspecified launch failure\nmore", "Found no NVIDIA driver on your system"]
)
def test_a_device_that_fails_is_nobodys_mistake(text: str) -> None:
    found = translated(RuntimeError(text))
    assert isinstance(found, DeviceError)
    assert "\n" not in str(found)


def test_what_an_error_was_raised_from_counts_and_what_is_suppressed_does_not() -> None:
    outer = ValueError("could not save")
    outer.__cause__ = of_system(errno.ENOSPC)
    assert isinstance(translated(outer), UserError)
    silent = ValueError("a bug")
    silent.__context__ = of_system(errno.ENOSPC)
    assert isinstance(translated(silent), UserError)
    silent.__suppress_context__ = True
    assert translated(silent) is None


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("x"), FileNotFoundError(2, "No such file", "x")])
def test_an_error_of_the_code_is_not_explained_away(error: Exception) -> None:
    assert translated(error) is None


def write_all(folder: Path) -> None:
    """Write a whole file of each kind that says where it ends."""
    folder.mkdir()
    pd.DataFrame({"x": range(100)}).to_parquet(folder / "table.parquet")
    save_file({"weight": torch.arange(100.0), "bias": torch.zeros(3)}, folder / "model.safetensors")
    (folder / "card.json").write_text(json.dumps({"labels": {"é": [1, 2]}}))
    np.save(folder / "images.npy", np.zeros(10))
    (folder / "empty.txt").touch()


READ = {
    "table.parquet": pd.read_parquet,
    "model.safetensors": load_file,
    "card.json": lambda file: json.loads(file.read_bytes()),
}


def test_whole_files_are_not_damaged(project: Path) -> None:
    write_all(Path("made"))
    assert list(damaged([Path("made"), Path("nowhere")])) == []


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("keep", [0.0, 0.05, 0.5, 0.99])
def test_a_file_that_was_cut_short_is_named(name: str, keep: float) -> None:
    write_all(Path("made"))
    file = Path("made", name)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(Exception) as caught:
        READ[name](file)
    found = translated(caught.value, [Path("made")])
    assert isinstance(found, UserError)
    assert str(found).startswith(f"made/{name} is cut short or damaged (")
    assert "\n" not in str(found)
