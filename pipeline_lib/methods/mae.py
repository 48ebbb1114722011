"""MAE: masked autoencoders are scalable vision learners (He 2022, https://arxiv.org/abs/2111.06377)."""

import math
from dataclasses import replace
from typing import Annotated, Any

import torch
from lightly.models.modules.masked_vision_transformer_decoder_timm import MaskedVisionTransformerDecoderTIMM
from lightly.models.modules.masked_vision_transformer_timm import MaskedVisionTransformerTIMM
from lightly.models.utils import get_at_index, patchify, set_at_index
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.ranks import gather
from pipeline_lib.core.registry import Count, Range
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.methods.views import CROP_AND_FLIP, Augment
from pipeline_lib.views.draws import uniforms

MAE_VIEW = replace(CROP_AND_FLIP, min_scale=0.2)


class MAE(nn.Module):
    """From a quarter of an image's patches, paint the others.

    The encoder must be a vision transformer. Like the authors', it starts from Xavier's weights and keeps
    sine-cosine positions as they are, unless it was given weights. Departs from the authors: a smaller decoder.

    Raises UserError for other encoders, for images that are no whole number of patches, and for options that do not
    fit each other or the image.
    """

    def __init__(
        self,
        encoder: Encoder,
        augment: Augment,
        *,
        mask_ratio: Annotated[float, Range(gt=0, lt=1)] = 0.75,
        decoder_dim: Annotated[int, Range(ge=4, le=65536)] = 128,
        decoder_depth: Annotated[int, Range(ge=1, le=32)] = 2,
        decoder_num_heads: Count = 4,
    ) -> None:
        super().__init__()
        vit: Any = encoder.backbone
        plain: bool = type(vit) is VisionTransformer and vit.pos_embed is not None and vit.attn_pool is None
        if not plain:
            raise UserError(
                f"encoder is '{encoder.name}', which is no plain vision transformer, whose patches the method 'mae' "
                "hides: set it to small_vit"
            )
        self.patch_size: int = vit.patch_embed.patch_size[0]
        if encoder.size % self.patch_size:
            raise UserError(
                f"size is {encoder.size} px, which patches of {self.patch_size} px do not divide, as the method 'mae' "
                "needs: take a multiple, or set encoder to small_vit"
            )
        # Each of the decoder's heads has an equal part, and so have the sines and cosines of the two axes.
        if decoder_dim % (parts := math.lcm(4, decoder_num_heads)):
            raise UserError(
                f"decoder_dim is {decoder_dim}, which 4 and decoder_num_heads, {decoder_num_heads}, do not divide: "
                f"make it a multiple of {parts}"
            )
        self.encoder, self.views = encoder, augment(MAE_VIEW)
        self.num_patches, self.num_prefix = vit.patch_embed.num_patches, vit.num_prefix_tokens
        self.num_kept = int(self.num_patches * (1 - mask_ratio))
        if not 0 < self.num_kept < self.num_patches:
            raise UserError(
                f"mask_ratio is {mask_ratio}, which keeps {self.num_kept} of an image's {self.num_patches} patches, "
                "but one at least must be kept and one hidden: take another, such as 0.75, or a larger size"
            )
        # Weights that tokens do not pass on their way to the decoder, which DistributedDataParallel would wait for.
        vit.fc_norm.requires_grad_(False)
        unused = nn.Parameter(torch.zeros(1, 1, vit.embed_dim), requires_grad=False)
        # lightly's sine-cosine positions have room for the class token, which not every transformer gives a position.
        positions = "learn" if vit.no_embed_class else "sincos"
        # Given weights must not be drawn anew.
        start, positions = ("skip", "skip") if encoder.pretrained else ("", positions)
        self.tokens = MaskedVisionTransformerTIMM(vit, unused, start, pos_embed_initialization=positions)
        self.embed = nn.Linear(vit.embed_dim, decoder_dim)
        self.decoder = MaskedVisionTransformerDecoderTIMM(
            self.num_patches, decoder_dim, decoder_depth, decoder_num_heads, self.num_prefix
        )
        self.predict = nn.Linear(decoder_dim, self.patch_size**2 * encoder.channels)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Return the mean squared error of the hidden patches' pixels, each patch normalised."""
        (view,) = self.views(images_BCHW)
        order = uniforms(self.num_patches, len(view)).T.argsort(dim=1).to(view.device)
        prefix = torch.arange(self.num_prefix, device=view.device).expand(len(view), -1)
        kept = torch.cat([prefix, order[:, : self.num_kept] + self.num_prefix], dim=1)
        hidden = order[:, self.num_kept :]
        tokens = self.embed(self.tokens.encode(view, idx_keep=kept))
        canvas = self.decoder.mask_token.expand(len(view), self.num_prefix + self.num_patches, -1)
        decoded = self.decoder(set_at_index(canvas, kept, tokens.type_as(canvas)))
        predicted = self.predict(get_at_index(decoded, hidden + self.num_prefix))
        # In the precision of the weights: pixels may come in half.
        pixels = get_at_index(patchify(view.type_as(self.predict.weight), self.patch_size), hidden)
        target = (pixels - pixels.mean(dim=2, keepdim=True)) / (pixels.var(dim=2, keepdim=True) + 1e-6).sqrt()
        return {"loss": gather((predicted - target).square().mean(dim=(1, 2))).mean()}
