"""Two processes with half of the batch each train as one process with all of it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from pipeline_lib.core.ranks import gather, rank_and_world
from pipeline_lib.methods import METHODS
from tests.pipeline_lib.methods.sets import encoder_for, in_double, make_batch

WORLD, NUM = 2, 8
OPTIONS: dict[str, dict[str, Any]] = {
    # The third batch has to come back to the start of the queue.
    "moco": {"memory_bank_size": 20},
    "swav": {"n_local_views": 2, "n_prototypes": 16},
    "dino": {"n_local_views": 2, "output_dim": 16, "batch_norm": True},
    "lejepa": {"n_local_views": 2, "sigreg_num_vectors": 16},
}
Step = tuple[Tensor, dict[str, Tensor]]


class SyncedNorm(_BatchNorm):
    """Batch normalisation by the statistics of all processes' samples."""

    def forward(self, x: Tensor) -> Tensor:
        dims = [dim for dim in range(x.ndim) if dim != 1]
        mean, square = gather(torch.stack([x.mean(dims), (x * x).mean(dims)])[None]).mean(dim=0)
        shape = [1, -1] + [1] * (x.ndim - 2)
        out = (x - mean.view(shape)) / ((square - mean**2).view(shape) + self.eps).sqrt()
        return out if self.weight is None else out * self.weight.view(shape) + self.bias.view(shape)


def smooth(module: nn.Module) -> None:
    """Replace maxima by means and soft ones, which the views' rounding moves a little and not from place to place."""
    for name, child in module.named_children():
        if isinstance(child, nn.MaxPool2d):
            setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
        elif isinstance(child, nn.AdaptiveMaxPool2d):
            setattr(module, name, nn.AdaptiveAvgPool2d(child.output_size))
        elif isinstance(child, nn.ReLU):
            setattr(module, name, nn.Softplus())
        smooth(child)


def train(name: str) -> list[Step]:
    """Return loss and gradients of every step, as this process sees them."""
    rank, world = rank_and_world()
    encoder = encoder_for(name)
    torch.manual_seed(0)
    method = METHODS[name](encoder, in_double(encoder), **OPTIONS.get(name, {})).double()
    smooth(method)
    model = method
    if world > 1:
        for module in method.modules():
            if isinstance(module, _BatchNorm):
                module.__class__ = SyncedNorm
        model = DistributedDataParallel(method)
    num = NUM // world
    batch = {key: value[rank * num : (rank + 1) * num] for key, value in make_batch(name, NUM).items()}
    optimizer = torch.optim.SGD(method.parameters(), 0.05)
    steps = []
    for i in range(3):
        torch.manual_seed(i)
        if hasattr(method, "begin_step"):
            method.begin_step((i + 1) / 4)
        loss = model(**batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        gradients = {key: p.grad.clone() for key, p in method.named_parameters() if p.grad is not None}
        steps.append((loss.detach(), gradients))
        optimizer.step()
    return steps


def work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/store", timedelta(seconds=60), rank=rank, world_size=WORLD)
    found: dict[str, Any] = {name: train(name) for name in METHODS}
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]]) + 10 * rank
    rows.requires_grad_()
    gathered = gather(rows)
    (gathered * torch.arange(8.0).view(4, 2) * (rank + 1)).sum().backward()
    found["gathered"], found["rows_grad"] = gathered.detach(), rows.grad
    found["labels"] = gather(torch.tensor([rank, -1]))
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("processes")
    spawn(work, (folder,), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_compute_the_loss_and_the_gradients_of_one(name: str, found: list[dict[str, Any]]) -> None:
    for i, (loss, gradients) in enumerate(train(name)):
        for rank in range(WORLD):
            their_loss, their_gradients = found[rank][name][i]
            torch.testing.assert_close(their_loss, loss, rtol=1e-5, atol=1e-7)
            assert set(their_gradients) == set(gradients)
            # Views are made in single precision, and rounded otherwise in batches of another size.
            length = torch.cat([gradient.flatten() for gradient in gradients.values()]).norm().item()
            for key, gradient in gradients.items():
                assert (their_gradients[key] - gradient).norm().item() < 1e-4 * length, key


def test_gathered_rows_are_in_the_order_of_ranks_and_their_gradients_are_summed(found: list[dict[str, Any]]) -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [11.0, 12.0], [13.0, 14.0]])
    weights = torch.arange(8.0).view(4, 2)
    for rank in range(WORLD):
        assert torch.equal(found[rank]["gathered"], rows)
        assert torch.equal(found[rank]["rows_grad"], 3 * weights[2 * rank : 2 * rank + 2])
        assert found[rank]["labels"].tolist() == [0, -1, 1, -1]


def test_one_process_gathers_nothing() -> None:
    rows = torch.ones(2, 3)
    assert rank_and_world() == (0, 1)
    assert gather(rows) is rows
