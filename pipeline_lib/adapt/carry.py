"""One adapter from its start to its end: trained, finished, and the heads that it left behind fitted anew."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from pipeline_lib.adapt.adapter import Adapter
from pipeline_lib.core.progress import say, track
from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.inference import evaluating
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.heads.refit import refit
from pipeline_lib.labels.kind import MISSING
from pipeline_lib.training import Batches

# Images of the source on whose features heads are fitted anew, at most.
MOST_IMAGES = 20_000
WEIGHT_DECAY = 1e-3


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
    label, without the source, leaves the heads of the other labels behind: they are fitted anew.
    """
    learner = adapter(model, label, source, len(rows))
    history = pd.DataFrame({"epoch": [], "loss": []})
    if learner.trains:
        history = train(learner, {"images_BCHW": rows, "places_B": torch.arange(len(rows))})
    learner.finish(rows, device)
    if learner.trains and not learner.needs_source:
        refit_others(model, label if learner.needs_label else None, source, device)
    return history


def refit_others(model: MultiTask, label: str | None, source: Batches, device: torch.device) -> None:
    """Fit the heads of all labels but ``label`` anew, in place, to the source's features under the encoder of now.

    The features are those under the source's own batch statistics, as the target's are under its own: what differs
    between the domains in mean and variance alone then does not reach the heads. Labels of which the source has no
    value keep their heads. The images are the first 20,000 in a random order that is always the same.
    """
    columns: Mapping[str, Any] = source.columns
    others = {
        name: columns[f"label_{number}"]
        for number, name in enumerate(model.specs)
        if name != label and _any_known(columns[f"label_{number}"])
    }
    if not others:
        return
    say(f"adapt: the {'head' if len(others) == 1 else 'heads'} of {', '.join(others)} fitted anew on the source")
    rows = torch.randperm(source.num_rows, generator=torch.Generator().manual_seed(0))[:MOST_IMAGES]
    parts = torch.tensor_split(rows, -(-len(rows) // source.batch_size))
    features_ND = source_features(model, source, parts, device)
    refit(
        model, list(others), features_ND, [column[rows.to(column.device)] for column in others.values()], WEIGHT_DECAY
    )
    model.eval()


@torch.no_grad()
def source_features(model: MultiTask, source: Batches, parts: Sequence[Tensor], device: torch.device) -> Tensor:
    """Return the features of rows of ``source`` under batch statistics of their own, float32 ``[N, D]``."""
    encoder = copy.deepcopy(model.encoder).to(device)

    def images(label: str | None) -> Any:
        shown = track(parts, label, len(parts)) if label else parts
        return (encoder.normalise(source.take(part)["images_BCHW"]) for part in shown)

    update_bn(images("the source's statistics"), encoder)
    with evaluating(encoder):
        return torch.cat([encoder(x_BCHW).float() for x_BCHW in images("the source's features")])


def _any_known(encoded_N: Any) -> bool:
    """Say whether any image has a value of a label, as kinds encode it: MISSING or NaN stand for none."""
    known = ~encoded_N.isnan() if encoded_N.is_floating_point() else encoded_N != MISSING
    return bool(known.any())
