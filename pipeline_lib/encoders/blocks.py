"""The blocks that an encoder is made of, from its input to its output."""

from typing import Any

from torch import nn

from pipeline_lib.encoders.encoder import Encoder


def blocks_of(encoder: Encoder) -> list[list[nn.Parameter]]:
    """Return the parameters of an encoder block by block; every one of them is in one block.

    Blocks are what timm takes for the layers of a model of its own, and in a sequence a layer that multiplies, with
    the normalisation behind it. An encoder that is neither is one block.
    """
    backbone: Any = encoder.backbone
    if isinstance(backbone, nn.Sequential):
        blocks: list[list[nn.Parameter]] = []
        for layer in backbone:
            parameters = list(layer.parameters())
            if not blocks or any(one.ndim > 1 for one in parameters):
                blocks.append([])
            blocks[-1] += parameters
        return [block for block in blocks if block]
    if hasattr(backbone, "group_matcher"):
        from timm.models import group_parameters

        parameters_by_name = dict(backbone.named_parameters())
        names_by_layer: dict[int, list[str]] = group_parameters(backbone, backbone.group_matcher())
        return [[parameters_by_name[name] for name in names_by_layer[layer]] for layer in sorted(names_by_layer)]
    return [list(backbone.parameters())]
