"""The heads of a model fitted anew on the source, under an encoder that has changed."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from pipeline_lib.core.progress import say, track
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.encoders.inference import evaluating
from pipeline_lib.heads.fitting import choose_penalties, fit_heads, has_value, held_out_folds
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches

# Images of the source on whose features heads are fitted anew, at most.
MOST_IMAGES = 20_000


def refit_heads(
    model: MultiTask,
    source: Batches,
    device: torch.device,
    *,
    but: str | None = None,
    align: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Fit the heads of all labels but one anew, in place, to the source's features under the encoder of now.

    The encoder is used as it is, with the batch statistics of the target: with the source's own, whatever differs
    between the domains in mean and variance would be gone, which a label may be about (the thickness of strokes, where
    one set is drawn thicker). Only where it no longer recognises the source so, by the label ``but``, are the
    statistics the source's own: see :func:`recognises`. Given ``align``, which maps the source's features ``[N, D]`` to
    ones like the target's, they always are.

    Labels of which the source has no value keep their heads. The images are the first 20,000 in a random order that is
    always the same. Leaves the model in evaluation mode.
    """
    columns: Mapping[str, Any] = source.columns
    rows = torch.randperm(source.num_rows, generator=torch.Generator().manual_seed(0))[:MOST_IMAGES]
    encoded = {
        name: columns[f"label_{number}"][rows.to(columns[f"label_{number}"].device)]
        for number, name in enumerate(model.specs)
    }
    names = [name for name, column in encoded.items() if name != but and has_value(column).any()]
    if names:
        say(f"adapt: the {'head' if len(names) == 1 else 'heads'} of {', '.join(names)} fitted anew on the source")
        own_ND = source_features(_with_own_statistics(model.encoder, source, rows, device), source, rows, device)
        features_ND = align(own_ND) if align else source_features(model.encoder, source, rows, device)
        if but is not None and not recognises(model, but, features_ND, own_ND, encoded[but]):
            features_ND = own_ND
        given = (model, names, features_ND, [encoded[name] for name in names])
        fit_heads(*given, choose_penalties(*given, held_out_folds(np.arange(len(rows)), seed=0).to(device)))
    model.eval()


@torch.no_grad()
def recognises(model: MultiTask, label: str, as_is_ND: Tensor, own_ND: Tensor, encoded_N: Tensor) -> bool:
    """Say whether the head of ``label`` is about as right on features of the source as on those of its own statistics.

    That is to say that its accuracy is nearer to the one on the latter than to the share of the largest class, which a
    constant answer has. The labels are those of the source that the model was trained on.
    """
    known_N = has_value(encoded_N)
    if not known_N.any():
        return True
    truth_M = encoded_N[known_N].long()
    constant = truth_M.bincount().max() / len(truth_M)
    as_is, own = (
        (model.head(label)(x_ND[known_N]).argmax(dim=1) == truth_M).float().mean() for x_ND in (as_is_ND, own_ND)
    )
    return bool(as_is >= (own + constant) / 2)


@torch.no_grad()
def source_features(encoder: Encoder, source: Batches, rows: Tensor, device: torch.device) -> Tensor:
    """Return the features of rows of ``source``, float32 ``[N, D]``."""
    parts = torch.tensor_split(rows, -(-len(rows) // source.batch_size))
    with evaluating(encoder.to(device)):
        images = (source.take(part)["images_BCHW"] for part in track(parts, "the source's features", len(parts)))
        return torch.cat([encoder(encoder.normalise(x_BCHW)).float() for x_BCHW in images])


def _with_own_statistics(encoder: Encoder, source: Batches, rows: Tensor, device: torch.device) -> Encoder:
    copied = copy.deepcopy(encoder).to(device)
    parts = torch.tensor_split(rows, -(-len(rows) // source.batch_size))
    update_bn((copied.normalise(source.take(part)["images_BCHW"]) for part in parts), copied)
    return copied
