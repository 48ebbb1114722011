import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline_lib.data.rows import Rows
from pipeline_lib.training import Batches
from pipeline_lib.training import batches as module


def stored(folder: Path, num: int = 50, size: int = 6, channels: int = 3) -> tuple[Path, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (num, size, size, channels), dtype=np.uint8)
    path = folder / "images.npy"
    np.save(path, images)
    return path, images


def test_every_row_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    batches = Batches({"x": torch.arange(35)}, 8, seed=0)
    first = torch.cat([batch["x"] for batch in batches])
    again = torch.cat([batch["x"] for batch in batches])
    batches.set_epoch(1)
    second = torch.cat([batch["x"] for batch in batches])
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(35))


@pytest.mark.parametrize(("rows", "size"), [(32, 8), (33, 8), (5, 64), (257, 256)])
def test_no_batch_is_larger_than_asked_for_or_much_smaller_than_the_others(rows: int, size: int) -> None:
    sizes = [len(batch["x"]) for batch in Batches({"x": torch.arange(rows)}, size, seed=0)]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == len(Batches({"x": torch.arange(rows)}, size, seed=0))


@pytest.mark.parametrize("rows", [32, 33, 40])
def test_processes_share_every_batch_and_together_see_what_one_would(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Batches({"x": torch.arange(rows)}, 8, seed=0).order()
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(module, "rank_and_world", lambda rank=rank: (rank, 2))
        shares.append(Batches({"x": torch.arange(rows)}, 8, seed=0).parts())
    together = torch.cat([torch.cat(pair) for pair in zip(*shares, strict=True)])
    assert all(len(one) == len(two) for one, two in zip(*shares, strict=True))
    assert torch.equal(together, whole[: rows // 2 * 2])


def test_weights_draw_rows_in_their_proportion() -> None:
    weights = torch.tensor([1.0, 3.0]).repeat_interleave(2000)
    drawn = Batches({"x": torch.arange(4000)}, 100, seed=0, weights=weights).order()
    assert 0.72 < (drawn >= 2000).float().mean() < 0.78


def test_rows_on_disk_are_the_images(tmp_path: Path) -> None:
    path, images = stored(tmp_path)
    chosen = np.array([3, 7, 49, 0])
    read = Rows(path, chosen).read(torch.tensor([2, 0, 2]))
    assert torch.equal(read, torch.from_numpy(images[[49, 3, 49]]).permute(0, 3, 1, 2))


def test_a_file_that_ends_too_soon_is_an_error(tmp_path: Path) -> None:
    path, _ = stored(tmp_path)
    rows = Rows(path, np.arange(50))
    os.truncate(path, path.stat().st_size - 10)
    with pytest.raises(OSError, match="ends inside image 49"):
        rows.read(torch.arange(50))


def test_batches_are_the_same_from_the_device_and_from_disk(tmp_path: Path) -> None:
    path, _ = stored(tmp_path)
    resident, streamed = (
        Batches({"images_BCHW": Rows(path, np.arange(50)), "y": torch.arange(50)}, 8, seed=0) for _ in range(2)
    )
    resident.place(torch.device("cpu"))
    streamed.place(torch.device("cpu"), share=0.0)
    assert resident.resident
    assert not streamed.resident
    for one, two in zip(resident, streamed, strict=True):
        assert torch.equal(one["images_BCHW"], two["images_BCHW"])
        assert torch.equal(one["y"], two["y"])


def test_batches_that_were_seen_can_be_skipped_once() -> None:
    batches = Batches({"x": torch.arange(40)}, 8, seed=0)
    whole = [batch["x"] for batch in batches]
    batches.skip(3)
    assert torch.equal(torch.cat([batch["x"] for batch in batches]), torch.cat(whole[3:]))
    assert len(list(batches)) == 5


SPARSE = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from pipeline_lib.data.rows import Rows
from pipeline_lib.training import Batches
path = Path(sys.argv[1])
images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(400_000, 129, 129, 3))
size = images.nbytes
del images
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
batches = Batches({"images_BCHW": Rows(path, np.arange(400_000))}, 256, seed=0)
batches.place(torch.device("cpu"), share=1e-9)
for number, batch in enumerate(batches):
    if number == 40:
        break
assert batch["images_BCHW"].shape == (256, 3, 129, 129)
print(size, peak() - before)
"""


def test_a_set_of_twenty_gigabytes_needs_less_than_half_a_gigabyte_of_memory(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", SPARSE, tmp_path / "images.npy"],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    size, grown = map(int, done.stdout.split())
    assert size > 19e9
    assert grown < 500e6
