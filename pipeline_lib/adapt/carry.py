"""One adapter from its start to its end: trained, finished, and the heads that it left behind fitted anew."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import torch
from torch import nn

from pipeline_lib.adapt.adapter import Adapter
from pipeline_lib.adapt.heads import refit_heads
from pipeline_lib.data.rows import Rows
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches


def carry(
    adapter: Callable[..., Adapter],
    model: MultiTask,
    label: str | None,
    source: Batches,
    rows: Rows,
    train: Callable[[nn.Module, Mapping[str, Any]], pd.DataFrame],
    device: torch.device,
) -> pd.DataFrame:
    """Adapt ``model`` to the target's ``rows``, in place, and return how the training went (epoch, loss).

    ``adapter`` makes the learner, ``train`` fits it to columns of images; ``source`` are labelled images of the source
    as :class:`~pipeline_lib.adapt.adapter.Adapter` takes them. An adapter that changes the encoder for the sake of one
    label leaves the heads of the others behind, which are fitted anew unless it has done so itself.
    """
    learner = adapter(model, label, source, len(rows))
    history = pd.DataFrame({"epoch": [], "loss": []})
    if learner.trains:
        history = train(learner, {"images_BCHW": rows, "places_B": torch.arange(len(rows))})
    learner.finish(rows, device)
    if not learner.fits_heads:
        refit_heads(model, source, device, but=label)
    return history
