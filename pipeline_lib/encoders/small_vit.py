"""A vision transformer for small images, of the width of ViT-Tiny and half its depth (arXiv:2010.11929)."""

from torch import nn

from pipeline_lib.core.errors import UserError


def small_vit(channels: int, size: int) -> nn.Module:
    """Return a network from ``[B, channels, size, size]`` to ``[B, 192]``, with 2.7 million parameters.

    Features are the average of the patches' tokens. Other sizes of image are taken too, as crops smaller than the
    image are: position embeddings are interpolated, edges padded.

    Raises UserError for a size that has no divisor to be a patch.
    """
    # Here, so that stages with other encoders do not wait for this import.
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=size,
        patch_size=patch_size(size),
        in_chans=channels,
        num_classes=0,
        embed_dim=192,
        depth=6,
        num_heads=3,
        global_pool="avg",
        # The last normalisation comes before the average, so that masked pretraining, which sees tokens, trains it too.
        fc_norm=False,
        dynamic_img_size=True,
        dynamic_img_pad=True,
    )


def patch_size(size: int) -> int:
    """Return a patch's side in px: 4 for images up to 64 px, else the smallest that leaves at most 16 to a side.

    It divides ``size``; raises UserError where that would leave fewer than 4 patches to a side.
    """
    if size <= 64 and size % 4 == 0:
        return 4
    patch = next(patch for patch in range(2, size + 1) if size % patch == 0 and size // patch <= 16)
    if size // patch < 4:
        raise UserError(
            f"images of {size} px cannot be cut into patches for a vision transformer: take a size that is a multiple "
            f"of 4, such as {max(round(size / 4), 4) * 4}"
        )
    return patch
