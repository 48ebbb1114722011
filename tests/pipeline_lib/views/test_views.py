import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from pipeline_lib.views import make_view
from pipeline_lib.views.blur import random_blur
from pipeline_lib.views.colour import random_colour, recolour
from pipeline_lib.views.geometry import random_affine, warp

STRONG = {"min_scale": 0.4, "rotation": 20.0, "shear": 10.0, "flip": 0.5, "jitter": 0.5, "grayscale": 0.3, "blur": 0.5}


def images(num: int = 6, channels: int = 3, size: int = 20) -> torch.Tensor:
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(num, channels, 5, 5), size=size, mode="bicubic")
    return (smooth.clamp(0, 1) * 255).to(torch.uint8)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_view_of_zero_strength_is_the_normalised_image(channels: int) -> None:
    batch = images(channels=channels)
    mean, std = torch.full((channels,), 0.4), torch.full((channels,), 0.3)
    expected = (batch / 255 - 0.4) / 0.3
    torch.testing.assert_close(make_view(batch, mean, std), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_seed_fixes_the_views_and_every_sample_has_its_own(channels: int) -> None:
    batch = images(1, channels).expand(8, -1, -1, -1)
    mean, std = torch.zeros(channels), torch.ones(channels)
    torch.manual_seed(3)
    first = make_view(batch, mean, std, **STRONG)
    torch.manual_seed(3)
    again = make_view(batch, mean, std, **STRONG)
    assert torch.equal(first, again)
    assert len(torch.unique(first.flatten(1), dim=0)) == 8


def test_a_certain_flip_is_a_mirror_image() -> None:
    batch = images().float()
    affine = random_affine(6, min_scale=1.0, rotation=0.0, shear=0.0, flip=1.0, device=torch.device("cpu"))
    torch.testing.assert_close(warp(batch, affine), batch.flip(3), atol=1e-3, rtol=1e-4)


def test_crops_keep_at_least_the_smallest_area_and_stay_inside_the_image() -> None:
    torch.manual_seed(0)
    affine = random_affine(2000, min_scale=0.3, rotation=0.0, shear=0.0, flip=0.5, device=torch.device("cpu"))
    width, height = affine[:, 0, 0].abs(), affine[:, 1, 1].abs()
    # A crop wider than the image is cut to it, so its area can end below the share by the aspect ratio at most.
    assert (width * height).min() >= 0.3 * 3 / 4
    corner = torch.stack([width + affine[:, 0, 2].abs(), height + affine[:, 1, 2].abs()])
    assert corner.max() <= 1 + 1e-6


def test_rotation_is_torchvisions() -> None:
    batch = images(1).float()
    affine = random_affine(1, min_scale=1.0, rotation=30.0, shear=0.0, flip=0.0, device=torch.device("cpu"))
    degrees = torch.rad2deg(torch.atan2(affine[0, 1, 0], affine[0, 0, 0])).item()
    expected = tv.rotate(batch, -degrees * -1, interpolation=v2.InterpolationMode.BILINEAR)
    inside = (slice(None), slice(None), slice(6, 14), slice(6, 14))
    torch.testing.assert_close(warp(batch, affine)[inside], expected[inside], atol=1e-2, rtol=1e-3)


def test_grayscale_and_zero_jitter_are_torchvisions() -> None:
    batch = images().float() / 255
    matrix = random_colour(batch, jitter=0.0, grayscale=1.0)
    expected = tv.rgb_to_grayscale(batch, num_output_channels=3)
    torch.testing.assert_close(recolour(batch, matrix), expected, atol=2e-3, rtol=1e-3)


def test_colour_keeps_grey_images_grey() -> None:
    grey = images(channels=1).float().expand(-1, 3, -1, -1) / 255
    changed = recolour(grey, random_colour(grey, jitter=0.8, grayscale=0.0))
    assert (changed.amax(1) - changed.amin(1)).max() < 5e-3


def test_blur_keeps_constants_and_the_mean_of_what_it_smooths_and_touches_only_its_share() -> None:
    torch.manual_seed(0)
    flat = torch.full((4, 1, 12, 12), 0.7)
    torch.testing.assert_close(random_blur(flat, 1.0), flat)
    batch = images(400, 1, 12).float()
    changed = (random_blur(batch, 0.3) - batch).abs().amax((1, 2, 3)) > 1e-3
    assert 0.2 < changed.float().mean() < 0.4
    blurred = random_blur(batch, 1.0)
    assert (blurred.var((1, 2, 3)) <= batch.var((1, 2, 3)) * 1.01).all()
