import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline_lib.training import Batches
from pipeline_lib.training import batches as module
from tests.pipeline_lib.training.sets import random_images, stored


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


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
def test_no_batch_has_one_row_where_there_are_two(size: int, world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "rank_and_world", lambda: (0, world))
    for rows in range(2 * world, 30):
        batches = Batches({"x": torch.arange(rows)}, size, seed=0)
        sizes = [len(batch["x"]) for batch in batches]
        assert len(sizes) == len(batches)
        assert min(sizes) >= 2
        assert sum(sizes) == rows // world
        assert max(sizes) * world <= max(size, 2 * world) + world
        if size > 2 * world and size % world == 0:
            assert max(sizes) * world <= size
    assert [len(batch["x"]) for batch in Batches({"x": torch.arange(world)}, size, seed=0)] == [1]


def test_batches_that_are_placed_give_any_rows(tmp_path: Path) -> None:
    images = random_images(20)
    batches = Batches({"images_BCHW": stored(tmp_path, images), "labels": torch.arange(20)}, 4, seed=0)
    for share in (0.0, 0.3):
        batches.place(torch.device("cpu"), share)
        batch = batches.take(torch.tensor([3, 3, 0]))
        assert torch.equal(batch["images_BCHW"], torch.from_numpy(images[[3, 3, 0]]).permute(0, 3, 1, 2))
        assert batch["labels"].tolist() == [3, 3, 0]


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


def test_batches_are_the_same_from_the_device_and_from_disk(tmp_path: Path) -> None:
    rows = stored(tmp_path, random_images(50))
    resident, streamed = (Batches({"images_BCHW": rows, "y": torch.arange(50)}, 8, seed=0) for _ in range(2))
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
from pipeline_lib.data.rows import Images, Rows
from pipeline_lib.training import Batches
path = Path(sys.argv[1])
images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(400_000, 129, 129, 3))
size = images.nbytes
del images
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
batches = Batches({"images_BCHW": Rows(Images(path), np.arange(400_000))}, 256, seed=0)
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
