"""Weights by how the gradients of labels agree, from the package torchjd, which is an extra."""

import importlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from pipeline_lib.core.errors import UserError
from pipeline_lib.heads.weightings.weighting import Weighting

PACKAGE = "torchjd"


class Conflict(Weighting):
    """The mean loss, but for what it does to the encoder: there, torchjd weighs the gradient of each label.

    ``rule`` makes weights ``[M]`` of the inner products ``[M, M]`` of the gradients of the M labels that have a value
    in the batch; the others have no gradient to agree with. Where all gradients are the same its weights add up to 1,
    or each is 1 if it ``sums``, and then the encoder gets the gradient of the mean loss, too, as heads always do. A
    step costs a pass back through the encoder for each label, and one more.
    """

    def __init__(self, rule: Callable[[Tensor], Tensor], sums: bool = False) -> None:
        super().__init__()
        self.rule, self.sums = rule, sums

    def forward(self, losses_L: Tensor, known_L: Tensor, shared: Sequence[nn.Parameter]) -> Tensor:
        """Return a scalar that is the mean loss, and whose gradient is that of the weighted losses in the encoder."""
        mean, known = losses_L.mean(), losses_L[known_L]
        if len(known) < 2:
            return mean
        rows = [torch.autograd.grad(loss, shared, retain_graph=True, materialize_grads=True) for loss in known]
        gradients_MP = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
        weights_M = self.rule(gradients_MP @ gradients_MP.T) * (1 if self.sums else len(known))
        # What the gradient of the mean lacks, as that of a term which is 0.
        lacking_P = (weights_M - 1) @ gradients_MP / len(losses_L)
        term = torch.cat([parameter.flatten() for parameter in shared]) @ lacking_P
        return mean + (term - term.detach())


def aggregation() -> Any:
    """Return ``torchjd.aggregation``; raise UserError where the package is not installed."""
    if find_spec(PACKAGE) is None:
        raise UserError(
            f"weighting needs {PACKAGE}, which this environment lacks: install it, as with "
            "'.venv/bin/pip install --editable .[multitask]' in the clone, or choose equal or uncertainty"
        )
    return importlib.import_module(f"{PACKAGE}.aggregation")
