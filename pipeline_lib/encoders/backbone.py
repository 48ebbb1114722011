"""Untrained backbones by name, with the stem that the size of the images asks for.

Functions import timm themselves, so that who asks for none of its models does not wait for it.
"""

from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from pipeline_lib.core.errors import UserError, nearest, reason, shown
from pipeline_lib.encoders import ENCODERS
from pipeline_lib.encoders.small_vit import patch_size

if TYPE_CHECKING:
    from timm.models.resnet import ResNet

# "original" is timm's. "small" halves the image less before the first stage: ResNets lose the stride and the pooling of
# their stem, as for CIFAR in SimCLR (arXiv:2002.05709, appendix B.9), vision transformers cut smaller patches.
Stem = Literal["small", "original"]

SMALL = 64  # px, the largest image that gets the small stem


def stem_for(size: int) -> Stem:
    """Return the stem for untrained encoders of images of ``size`` px."""
    return "small" if size <= SMALL else "original"


def build_backbone(name: str, channels: int, size: int, stem: Stem | None = None) -> nn.Module:
    """Return an untrained backbone: one of ENCODERS, or timm's of that name without its classifier.

    It maps ``[B, channels, size, size]`` to ``[B, D]``. ``stem`` is by the size if it is None, and changes ResNets and
    vision transformers of timm alone; their weights do not carry over from one stem to the other.
    Raises UserError naming the nearest known name, or that the encoder does not take the size.
    """
    if name in ENCODERS:
        return ENCODERS[name](channels, size)
    import timm
    from timm.models.resnet import ResNet

    if not timm.is_model(name):
        known = [*ENCODERS, *timm.list_models()]
        raise UserError(
            f"encoder is {shown(name)}, which is neither one of {', '.join(ENCODERS)} nor a model of timm"
            f"{nearest(name, known)}"
        )
    stem = stem or stem_for(size)
    try:
        backbone = timm.create_model(name, num_classes=0, in_chans=channels, **size_options(name, size, stem))
    except (ArithmeticError, AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise refusal(name, size, error) from None
    if stem == "small" and isinstance(backbone, ResNet):
        _shrink_stem(backbone, channels)
    return backbone


def refusal(name: str, size: int, error: Exception) -> UserError:
    """Return the sentence for an encoder that fails with images of ``size`` px."""
    return UserError(
        f"encoder is '{name}', which does not take images of {size} px ({reason(error)}): choose another encoder or a "
        "larger size"
    )


def size_options(name: str, size: int, stem: Stem) -> dict[str, Any]:
    """Return the arguments by which a model of timm is built for ``size``."""
    import timm

    if timm.models.model_entrypoint(name).__module__.split(".")[-1] in ("vision_transformer", "deit"):
        # Crops smaller than the image are taken too, and padded where patches do not divide them.
        options: dict[str, Any] = {"img_size": size, "dynamic_img_size": True, "dynamic_img_pad": True}
        return options | {"patch_size": patch_size(size)} if stem == "small" else options
    pretrained = timm.get_pretrained_cfg(name)
    return {"img_size": size} if pretrained is not None and pretrained.fixed_input_size else {}


def _shrink_stem(backbone: "ResNet", channels: int) -> None:
    """Give the first convolution stride 1 and, unless others follow it in the stem, 3x3; leave out the pooling."""
    stem: Any = backbone.conv1
    if isinstance(stem, nn.Conv2d):
        first = nn.Conv2d(channels, stem.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
        backbone.add_module("conv1", first)
    else:
        stem[0].stride = (1, 1)
    backbone.add_module("maxpool", nn.Identity())
