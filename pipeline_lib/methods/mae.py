"""MAE: masked autoencoders are scalable vision learners (He 2022, https://arxiv.org/abs/2111.06377)."""

from dataclasses import replace
from typing import Any

import torch
from lightly.models.modules.masked_vision_transformer_decoder_timm import MaskedVisionTransformerDecoderTIMM
from lightly.models.modules.masked_vision_transformer_timm import MaskedVisionTransformerTIMM
from lightly.models.utils import get_at_index, patchify, set_at_index
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.ranks import gather
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.methods.views import CROP_AND_FLIP, Augment
from pipeline_lib.views.draws import uniforms

MAE_VIEW = replace(CROP_AND_FLIP, min_scale=0.2)


class MAE(nn.Module):
    """From a quarter of an image's patches, paint the others.

    The encoder must be a vision transformer. Like the authors', it starts from Xavier's weights and keeps
    sine-cosine positions as they are, unless it was given weights. Departs from the authors: a smaller decoder.

    Raises UserError for other encoders, and for images that are no whole number of patches.
    """

    def __init__(
        self,
        encoder: Encoder,
        augment: Augment,
        *,
        mask_ratio: float = 0.75,
        decoder_dim: int = 128,
        decoder_depth: int = 2,
        decoder_num_heads: int = 4,
    ) -> None:
        super().__init__()
        vit: Any = encoder.backbone
        plain: bool = type(vit) is VisionTransformer and vit.pos_embed is not None and vit.attn_pool is None
        if not plain:
            raise UserError(
                f"pretrain.method 'mae' hides patches of a plain vision transformer, which pretrain.encoder in "
                f"params.yaml, '{encoder.name}', is not: set it to small_vit"
            )
        self.patch_size: int = vit.patch_embed.patch_size[0]
        if encoder.size % self.patch_size:
            raise UserError(
                f"image.size in params.yaml is {encoder.size}, which patches of {self.patch_size} px do not divide, as "
                "pretrain.method 'mae' needs: take a multiple, or set pretrain.encoder to small_vit"
            )
        self.encoder, self.views, self.mask_ratio = encoder, augment(MAE_VIEW), mask_ratio
        self.num_patches, self.num_prefix = vit.patch_embed.num_patches, vit.num_prefix_tokens
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
        num_kept = int(self.num_patches * (1 - self.mask_ratio))
        prefix = torch.arange(self.num_prefix, device=view.device).expand(len(view), -1)
        kept = torch.cat([prefix, order[:, :num_kept] + self.num_prefix], dim=1)
        hidden = order[:, num_kept:]
        tokens = self.embed(self.tokens.encode(view, idx_keep=kept))
        canvas = self.decoder.mask_token.expand(len(view), self.num_prefix + self.num_patches, -1)
        decoded = self.decoder(set_at_index(canvas, kept, tokens.type_as(canvas)))
        predicted = self.predict(get_at_index(decoded, hidden + self.num_prefix))
        # In the precision of the weights: pixels may come in half.
        pixels = get_at_index(patchify(view.type_as(self.predict.weight), self.patch_size), hidden)
        target = (pixels - pixels.mean(dim=2, keepdim=True)) / (pixels.var(dim=2, keepdim=True) + 1e-6).sqrt()
        return {"loss": gather((predicted - target).square().mean(dim=(1, 2))).mean()}
