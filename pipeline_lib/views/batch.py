"""One random view of every image of a batch."""

import torch
from torch import Tensor

from pipeline_lib.views.colour import colour_matrix, normalising
from pipeline_lib.views.draws import uniforms
from pipeline_lib.views.geometry import random_spans, turn
from pipeline_lib.views.resample import blurred, render, weights
from pipeline_lib.views.view import View

# Each sample's random numbers: every view draws all of them, so that switching one change on leaves the others alone.
DRAWS = (
    *("area", "aspect", "x", "y", "mirrored", "angle", "slant", "blurred", "sigma"),
    *("jittered", "brightness", "contrast", "saturation", "hue", "grey", "solarized"),
)
# px; the range of SimCLR as lightly and torchvision take it.
SIGMAS = (0.1, 2.0)


def make_view(
    images_BCHW: Tensor, view: View, mean: Tensor, std: Tensor, *, size: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return one view per image, ``[B, C, size, size]`` in channels_last, normalised by ``mean`` and ``std``.

    ``images_BCHW`` is uint8, or float32 in 0-255, on any device; ``mean`` and ``std`` are ``[C]``, of pixels in 0-1;
    ``size`` counts where the view has none of its own. A rotation comes first, then crop, flip, antialiased
    resizing and blur in one product, all changes of colour in one more, and solarisation last. The
    randomness is that of :func:`~pipeline_lib.views.draws.uniforms`: a seed fixes the views, on every device.
    """
    device, side = images_BCHW.device, view.size or size
    draws = uniforms(len(DRAWS), len(images_BCHW))
    on_host = dict(zip(DRAWS, draws, strict=True))
    on_device = dict(zip(DRAWS, draws.to(device, non_blocking=True), strict=True))
    x = images_BCHW
    if view.rotation > 0 or view.shear > 0:
        angle, slant = on_device["angle"] * 2 - 1, on_device["slant"] * 2 - 1
        x = turn(x.float(), angle * view.rotation, slant * view.shear)
    place = torch.stack([on_device["x"], on_device["y"]])
    start, span = random_spans(on_device["area"], on_device["aspect"], place, view.min_scale, view.max_scale)
    mirrored = on_device["mirrored"] < view.flip
    columns = weights(start[0], span[0], mirrored, x.shape[3], side)
    rows = weights(start[1], span[1], torch.zeros_like(mirrored), x.shape[2], side)
    # Chosen on the host, which then need not wait for the device to say how many there are.
    chosen = (on_host["blurred"] < view.blur).nonzero().squeeze(1).to(device, non_blocking=True)
    if len(chosen):
        sigma = on_device["sigma"][chosen] * (SIGMAS[1] - SIGMAS[0]) + SIGMAS[0]
        columns[chosen], rows[chosen] = blurred(columns[chosen], sigma), blurred(rows[chosen], sigma)

    def colours(mean_BC: Tensor) -> Tensor:
        return normalising(_random_colour(mean_BC, view, on_device), mean, std)

    x = render(x, rows, columns, colours)
    # Whole rows of pixels: to repeat three numbers over the last axis would take a CPU five times as long.
    black, white = (-mean / std).repeat(side), ((1 - mean) / std).repeat(side)
    x = x.flatten(2)
    x = torch.clamp(x, black, white, out=x)
    if view.solarize > 0:
        inverted = (on_device["solarized"] < view.solarize)[:, None, None] & (x >= (black + white) / 2)
        x = torch.where(inverted, black + white - x, x)
    return x.view(len(x), side, side, -1).permute(0, 3, 1, 2).to(dtype)


def _random_colour(mean_BC: Tensor, view: View, draws: dict[str, Tensor]) -> Tensor:
    """Return colour matrices from 0-255 to 0-1, for views whose mean colours are ``mean_BC``, in 0-255."""
    jittered = draws["jittered"] < view.jitter

    def change(name: str, strength: float) -> Tensor:
        return (draws[name] * 2 - 1) * strength * jittered

    matrix = colour_matrix(
        mean_BC,
        (1 + change("brightness", view.brightness)).clamp(min=0),
        (1 + change("contrast", view.contrast)).clamp(min=0),
        (1 + change("saturation", view.saturation)).clamp(min=0),
        change("hue", view.hue),
        (draws["grey"] < view.grayscale).float(),
    )
    return matrix / 255
