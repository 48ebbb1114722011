"""Who helps whom: what a step for one label does to the loss of another (after Fifty 2021, arXiv:2109.04617).

L counts labels. Half of a batch gives each label a step of the shared weights, down its own loss, and the other half
says what has become of the losses of all of them. Steps are as long as a hundredth of the label's own loss is worth by
its slope, so that those of labels of any size compare. The heads stay, and so do the weights of the training.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.encoders.inference import evaluating
from pipeline_lib.heads.fitting import has_value

# How often in a training, evenly spread: each takes about as long as half a step for each label.
TIMES = 8
# By which share a step lowers the loss that it is for, if that follows its slope: little enough for it to do so.
PROMISE = 0.01

# From features [B, D] and the columns of labels to the loss of every label.
Losses = Callable[[Tensor, Mapping[str, Tensor]], Mapping[str, Tensor]]
# A row for the label that a step is for, and in it, for each label, by which share its loss fell; None without a value.
Table = list[list[float | None]]


class Affinity(nn.Module):
    """Measures in a training what steps for each label do to all labels; ``found`` has a table for each time.

    It is part of checkpoints, so that a training that goes on measures as often as one that never stopped.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Table] = []
        self.due = False

    def begin_step(self, progress: float) -> None:
        """Take note of which share of all steps is done."""
        self.due = progress * TIMES >= len(self.found) + 0.5

    def measure(
        self,
        encoder: Encoder,
        losses: Losses,
        x_BCHW: Tensor,
        labels: Mapping[str, Tensor],
        rates: Mapping[nn.Parameter, float],
    ) -> None:
        """Add the table of a batch; ``rates`` has the parameters that are trained, each with its share of the rate."""
        self.due = False
        half = len(x_BCHW) // 2
        columns = [{name: column[part] for name, column in labels.items()} for part in (slice(half), slice(half, None))]
        known = [[bool(has_value(column).any()) for column in part.values()] for part in columns]
        with evaluating(encoder):
            of_first = losses(encoder(x_BCHW[:half]), columns[0])
            gradients = [
                torch.autograd.grad(loss, list(rates), retain_graph=True, materialize_grads=True)
                for loss in of_first.values()
            ]
            promised = [PROMISE * loss.item() for loss in of_first.values()]
            with torch.no_grad():
                before_L = torch.stack(list(losses(encoder(x_BCHW[half:]), columns[1]).values()))
                after_LL = torch.stack(
                    [
                        torch.stack(
                            list(losses(functional_call(encoder, moved, (x_BCHW[half:],)), columns[1]).values())
                        )
                        for moved in map(partial(_moved, encoder, rates), gradients, promised)
                    ]
                )
        gains_LL = (1 - after_LL / before_L).tolist()
        self.found.append(
            [
                [
                    round(gain, 6) if told and loss > 0 and math.isfinite(gain) else None
                    for gain, told, loss in zip(row, known[1], before_L.tolist(), strict=True)
                ]
                if gave
                else [None] * len(row)
                for row, gave in zip(gains_LL, known[0], strict=True)
            ]
        )

    def get_extra_state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"found": self.found}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take what a checkpoint kept."""
        self.found = state["found"]


def _moved(
    encoder: Encoder, rates: Mapping[nn.Parameter, float], gradients: Sequence[Tensor], promised: float
) -> dict[str, Tensor]:
    """Return the parameters, by their names, after the step down the gradients that promises so much less of a loss."""
    steps = {parameter: rate * one for (parameter, rate), one in zip(rates.items(), gradients, strict=True)}
    slope = torch.stack([(steps[one] * gradient).sum() for one, gradient in zip(rates, gradients, strict=True)]).sum()
    factor = promised / slope.clamp(min=torch.finfo(slope.dtype).tiny)
    return {name: one - factor * steps[one] for name, one in encoder.named_parameters() if one in steps}
