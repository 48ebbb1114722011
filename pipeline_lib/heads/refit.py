"""Heads fitted anew on features that do not change, all at once: a convex problem for most kinds of labels."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline_lib.heads.model import MultiTask
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import Kind

MOST_STEPS = 200  # of L-BFGS
WEIGHT_DECAYS = (1e-3, 1e-2, 1e-1, 1.0)
HELD_OUT = 5  # one image of so many chooses among them


def refit(model: MultiTask, names: Sequence[str], features_ND: Tensor, encoded: Sequence[Tensor]) -> None:
    """Fit the heads of the labels ``names``, in place, to features float32 ``[N, D]`` on the device of the model.

    ``encoded`` are the values of each label, as :meth:`~pipeline_lib.labels.kind.Kind.encode` makes them, ``[N]``. The
    price of large weights is the one of WEIGHT_DECAYS with which the label's loss is least on a fifth of the images,
    after a fit to the others. The rows are taken to be in a random order. A head stays as it is where no fit ends in
    numbers, as with features of a domain whose images are all equal.
    """
    if not features_ND.isfinite().all():
        return
    held_out_N = torch.arange(len(features_ND), device=features_ND.device) % HELD_OUT == 0
    for name, encoded_N in zip(names, encoded, strict=True):
        kind, head = KINDS[model.specs[name]["kind"]], model.head(name)
        losses: dict[float, float] = {}
        for weight_decay in WEIGHT_DECAYS:
            tried = copy.deepcopy(head)
            fit_head(kind, tried, features_ND[~held_out_N], encoded_N[~held_out_N], weight_decay)
            with torch.no_grad():
                losses[weight_decay] = float(kind.loss(tried(features_ND[held_out_N]), encoded_N[held_out_N]))
        if finite := [weight_decay for weight_decay, loss in losses.items() if math.isfinite(loss)]:
            tried = copy.deepcopy(head)
            fit_head(kind, tried, features_ND, encoded_N, min(finite, key=lambda one: losses[one]))
            if all(parameter.isfinite().all() for parameter in tried.parameters()):
                head.load_state_dict(tried.state_dict())


def fit_head(kind: Kind, head: nn.Module, features_ND: Tensor, encoded_N: Tensor, weight_decay: float) -> None:
    """Train ``head`` from where it stands by L-BFGS over all images, in place.

    ``weight_decay`` is the price of half the square of its weights, beside the mean loss; offsets pay nothing.
    """
    parameters = list(head.requires_grad_(True).parameters())
    optimiser = torch.optim.LBFGS(parameters, max_iter=MOST_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        price = sum(one.square().sum() for one in parameters if one.ndim > 1)
        found: Tensor = kind.loss(head(features_ND), encoded_N) + weight_decay / 2 * price
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimiser.step(loss)  # type: ignore[no-untyped-call]
