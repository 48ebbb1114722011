"""Heads fitted anew on features that do not change, all at once: a convex problem for most kinds of labels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline_lib.heads.model import MultiTask
from pipeline_lib.labels import KINDS

MOST_STEPS = 200  # of L-BFGS


def refit(
    model: MultiTask, names: Sequence[str], features_ND: Tensor, encoded: Sequence[Tensor], weight_decay: float
) -> None:
    """Fit the heads of the labels ``names``, in place, to features float32 ``[N, D]`` on the device of the model.

    ``encoded`` are the values of each label, as :meth:`~pipeline_lib.labels.kind.Kind.encode` makes them, ``[N]``.
    A head starts from what it was and is trained by L-BFGS over all images; ``weight_decay`` is the price of half the
    square of its weights, and nothing that its offsets pay.
    """
    for name, encoded_N in zip(names, encoded, strict=True):
        kind, head = KINDS[model.specs[name]["kind"]], model.head(name)
        parameters = list(head.parameters())
        optimiser = torch.optim.LBFGS(parameters, max_iter=MOST_STEPS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()  # noqa: B023
            price = sum(one.square().sum() for one in parameters if one.ndim > 1)  # noqa: B023
            found: Tensor = kind.loss(head(features_ND), encoded_N) + weight_decay / 2 * price  # noqa: B023
            found.backward()  # type: ignore[no-untyped-call]
            return found

        head.requires_grad_(True)
        optimiser.step(loss)  # type: ignore[no-untyped-call]
