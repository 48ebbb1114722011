"""The views of a method, with the strengths that the user's images ask for."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.core.errors import UserError
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.views.batch import make_view
from pipeline_lib.views.reference import lightly_view
from pipeline_lib.views.view import View

MAKERS: Mapping[str, Callable[..., Tensor]] = {"batched": make_view, "lightly": lightly_view}
Draw = Callable[[Tensor], list[Tensor]]


def augment(
    encoder: Encoder, changes: Mapping[str, float | None] | None = None, maker: str = "batched"
) -> Callable[..., Draw]:
    """Return a function from views to a function that draws them, in order, of uint8 images ``[B, C, H, W]``.

    The views are normalised for ``encoder`` and in the precision that training runs in. ``changes`` replaces strengths
    of every view, None leaving the method's own; the area that a local crop (a view with a size of its own)
    keeps stays the method's, for it is what makes it local.
    """
    wanted: dict[str, Any] = {name: value for name, value in (changes or {}).items() if value is not None}
    around = {name: value for name, value in wanted.items() if name not in ("min_scale", "max_scale")}

    def plan(*views: View) -> Draw:
        changed = [replace(view, **(wanted if view.size is None else around)) for view in views]
        for view in changed:
            if view.size and view.size > encoder.size:
                raise UserError(
                    f"local_size is {view.size} px, but the whole view has {encoder.size} px: make it smaller"
                )

        def draw(images_BCHW: Tensor) -> list[Tensor]:
            kind = images_BCHW.device.type
            dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
            mean, std = encoder.mean, encoder.std
            # In half precision the products that make a view would round the pixels.
            with torch.no_grad(), torch.autocast(kind, enabled=False):
                return [MAKERS[maker](images_BCHW, view, mean, std, size=encoder.size, dtype=dtype) for view in changed]

        return draw

    return plan
