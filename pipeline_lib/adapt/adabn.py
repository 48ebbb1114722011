"""AdaBN: the target's own batch statistics (Li 2016, https://arxiv.org/abs/1603.04779)."""

from collections.abc import Callable, Mapping

import pandas as pd
import torch
from torch import Tensor, nn

from pipeline_lib.core.errors import UserError
from pipeline_lib.heads.model import MultiTask

BatchNorm = nn.modules.batchnorm._BatchNorm


def adabn(
    model: MultiTask,
    target_NCHW: Tensor,
    source: Mapping[str, Tensor],
    primary: str,
    train: Callable[[nn.Module, Mapping[str, Tensor]], pd.DataFrame],
    *,
    batch_size: int = 256,
) -> pd.DataFrame:
    """Replace the running mean and variance of every batch normalisation by those of the target.

    They are averaged over batches of about ``batch_size``, equally large. Nothing is trained.
    Raises UserError for an encoder without batch normalisation.
    """
    layers = [module for module in model.modules() if isinstance(module, BatchNorm)]
    if not layers:
        raise UserError("adapt.methods has 'adabn', but the encoder has no batch normalisation: remove it there")
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's sign for a plain average over batches
    model.train()
    with torch.no_grad():
        for batch in target_NCHW.tensor_split(max(1, round(len(target_NCHW) / batch_size))):
            model.encoder(model.encoder.normalise(batch))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return pd.DataFrame({"epoch": [], "loss": []})
