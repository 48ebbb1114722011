"""Weights whose keys are not timm's: tables that rename them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from pipeline_lib.core.errors import UserError


@dataclass(frozen=True)
class Layout:
    """Renames the keys of files that hold the key ``sign``: each (pattern, replacement) in turn."""

    sign: str
    renames: Sequence[tuple[str, str]]


# Of torchvision.models.vit_*, against timm's VisionTransformer.
TORCHVISION_VIT = Layout(
    "encoder.pos_embedding",
    (
        (r"^class_token$", "cls_token"),
        (r"^conv_proj\.", "patch_embed.proj."),
        (r"^encoder\.pos_embedding$", "pos_embed"),
        (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
        (r"\.ln_(\d)\.", r".norm\1."),
        (r"\.self_attention\.in_proj_", ".attn.qkv."),
        (r"\.self_attention\.out_proj\.", ".attn.proj."),
        (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
        (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
        (r"^encoder\.ln\.", "norm."),
        (r"^heads\.head\.", "head."),
    ),
)

# Of the packages efficientnet-pytorch and efficientnet-lite-pytorch, against timm's EfficientNet. The blocks of stage 0
# do not expand, so their second convolution is timm's conv_pw.
EFFICIENTNET_PYTORCH = Layout(
    "_conv_stem.weight",
    (
        (r"^_conv_stem\.", "conv_stem."),
        (r"^_bn0\.", "bn1."),
        (r"^_conv_head\.", "conv_head."),
        (r"^_bn1\.", "bn2."),
        (r"^_fc\.", "classifier."),
        (r"^(blocks\.0\.\d+)\._bn(\d)\.", r"\1.bn\2."),
        (r"^(blocks\.0\.\d+)\._project_conv\.", r"\1.conv_pw."),
        (r"\._expand_conv\.", ".conv_pw."),
        (r"\._depthwise_conv\.", ".conv_dw."),
        (r"\._project_conv\.", ".conv_pwl."),
        (r"\._se_(reduce|expand)\.", r".se.conv_\1."),
        (r"\._bn0\.", ".bn1."),
        (r"\._bn1\.", ".bn2."),
        (r"\._bn2\.", ".bn3."),
    ),
)


def find_layout(state: Mapping[str, Tensor]) -> Layout | None:
    """Return the foreign layout that the keys are in, if it is a known one."""
    return next((layout for layout in (TORCHVISION_VIT, EFFICIENTNET_PYTORCH) if layout.sign in state), None)


def rename(state: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Return the weights under timm's keys for ``backbone``; those of no known layout stay as they are.

    Raises UserError for weights ported from TensorFlow and a backbone that pads and normalises otherwise: all keys and
    shapes would fit, and the features would be wrong.
    """
    layout = find_layout(state)
    if layout is None:
        return dict(state)
    if layout is EFFICIENTNET_PYTORCH:
        name = getattr(backbone, "pretrained_cfg", {}).get("architecture", "")
        if name.startswith("efficientnet_"):
            raise UserError(
                f"the weights were ported from TensorFlow, which pads otherwise than {name}: set encoder to tf_{name}"
            )
        state = _number_by_stage(state, backbone)
    return {_rename(key, layout.renames): tensor for key, tensor in state.items()}


def _rename(key: str, renames: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in renames:
        key = re.sub(pattern, replacement, key)
    return key


def _number_by_stage(state: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Rename ``_blocks.7.`` to ``blocks.3.1.``: the blocks are numbered throughout, timm's by stage."""
    names = (re.match(r"blocks\.(\d+)\.(\d+)\.", key) for key in backbone.state_dict())
    places = sorted({(int(name[1]), int(name[2])) for name in names if name})

    def number(match: re.Match[str]) -> str:
        block = int(match[1])
        return "blocks.{}.{}.".format(*places[block]) if block < len(places) else match[0]

    return {re.sub(r"^_blocks\.(\d+)\.", number, key): tensor for key, tensor in state.items()}
