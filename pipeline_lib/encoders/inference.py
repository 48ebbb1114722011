"""The one pass of a model over images: batch by batch, reading ahead, keeping only what is asked for."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import track
from pipeline_lib.data.rows import Readable, Rows
from pipeline_lib.encoders.encoder import Encoder

Part = TypeVar("Part")
Read = TypeVar("Read")
Reduced = TypeVar("Reduced")
READ_AHEAD = 2


def stream(
    module: nn.Module,
    encoder: Encoder,
    rows: Readable,
    device: torch.device,
    batch_size: int,
    reduce: Callable[[Any], Reduced],
    label: str | None,
) -> list[Reduced]:
    """Return ``reduce(outputs)`` of every batch of ``rows``, in their order, on the CPU.

    ``module`` takes normalised images float32 ``[B, C, S, S]``, as ``encoder.normalise`` makes them, and gives a
    tensor or a mapping of tensors: ``reduce`` sees them in float32 on ``device`` and gives the same, so memory grows
    with the number of images by no more than what it keeps. The module is moved to ``device`` and passes in evaluation
    mode, without gradients and, on a GPU that has it, in bfloat16; the modes of its parts are as before
    afterwards. Progress is shown under ``label``, and not at all without one.
    """
    encoder.to(device)
    # Convolutions run faster on channels_last, also on a CPU.
    module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pin = device.type == "cuda"
    parts = torch.split(torch.arange(len(rows)), batch_size) if len(rows) else ()
    batches = read_ahead(lambda part: rows.read(part, pin), parts)
    shown = batches if label is None else track(batches, label, len(parts))

    @torch.no_grad()
    def keep(outputs: Any) -> Reduced:
        kept: Reduced = _each(reduce(_each(outputs, _float)), _kept)
        return kept

    reduced = []
    # What is kept is allocated by a thread of its own, which has its own part of the heap: between the large tensors of
    # two batches it would keep the C library from using their memory again, and memory would grow with every batch.
    with torch.no_grad(), evaluating(module), ThreadPoolExecutor(1) as keeper:
        for images_BCHW in shown:
            x = encoder.normalise(images_BCHW.to(device, non_blocking=True))
            with _autocast(device):
                outputs = module(x.contiguous(memory_format=torch.channels_last))
            reduced.append(keeper.submit(keep, outputs).result())
    return reduced


def features(
    encoder: Encoder, rows: Rows, device: torch.device, batch_size: int, label: str | None = None
) -> np.ndarray:
    """Return the features of ``rows``, float32 ``[N, D]``; see :func:`stream`."""
    found = np.empty((len(rows), encoder.num_features), np.float32)
    done = 0

    def keep(outputs_BD: Tensor) -> None:
        nonlocal done
        found[done : done + len(outputs_BD)] = outputs_BD.cpu().numpy()
        done += len(outputs_BD)

    stream(encoder, encoder, rows, device, batch_size, keep, label)
    return found


def finite_features(
    encoder: Encoder, rows: Rows, device: torch.device, batch_size: int, label: str | None = None
) -> np.ndarray:
    """Return :func:`features`; raise UserError where they are not finite, as with weights that were never checked."""
    found = features(encoder, rows, device, batch_size, label)
    if not np.isfinite(found).all():
        raise UserError(
            f"the features of {encoder.name} are not finite, so nothing can be computed from them: name other weights"
        )
    return found


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put ``module`` into evaluation mode for a while; each of its parts gets its own mode back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def read_ahead(
    read: Callable[[Part], Read], parts: Iterable[Part], waited: Callable[[float], None] = lambda _: None
) -> Iterator[Read]:
    """Yield ``read`` of each of ``parts``, made in a thread while the ones before are in use.

    ``waited`` is told how many seconds each was waited for.
    """
    with ThreadPoolExecutor(1, thread_name_prefix=f"read-ahead-{os.getpid()}") as pool:
        pending: deque[Future[Read]] = deque()
        for part in parts:
            pending.append(pool.submit(read, part))
            if len(pending) > READ_AHEAD:
                yield _wait(pending.popleft(), waited)
        while pending:
            yield _wait(pending.popleft(), waited)


def _wait(future: Future[Read], waited: Callable[[float], None]) -> Read:
    start = time.perf_counter()
    result = future.result()
    waited(time.perf_counter() - start)
    return result


def _autocast(device: torch.device) -> torch.autocast:
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast)


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return ``value`` with its tensors changed: a tensor, a mapping of them, or anything else as it is."""
    if isinstance(value, Mapping):
        return {name: _each(item, change) for name, item in value.items()}
    return change(value) if isinstance(value, Tensor) else value


def _float(x: Tensor) -> Tensor:
    return x.float() if x.is_floating_point() else x


def _kept(x: Tensor) -> Tensor:
    """Return a copy on the CPU: a view would keep the whole of what it is a part of."""
    return x.to("cpu", copy=True)
