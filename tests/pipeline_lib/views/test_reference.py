import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline_lib.core.errors import UserError
from pipeline_lib.views import View, make_view
from pipeline_lib.views.reference import lightly_view

JITTER = {"jitter": 1.0, "brightness": 0.3, "contrast": 0.3, "saturation": 0.3}
STRONG = View(
    min_scale=0.3, rotation=20.0, shear=10.0, flip=0.5, grayscale=0.3, blur=0.5, solarize=0.5, hue=0.1, **JITTER
)


def images(num: int, channels: int = 3, size: int = 20) -> Tensor:
    """Smooth images in the middle of the range, where Pillow's clamping of colours changes little."""
    torch.manual_seed(0)
    smooth = F.interpolate(torch.rand(num, channels, 5, 5), size=size, mode="bilinear")
    return (smooth * 128 + 64).to(torch.uint8)


def over_draws(make, view: View, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and spread of every pixel over 600 views of one image."""
    batch = images(1, channels).expand(600, -1, -1, -1)
    torch.manual_seed(0)
    views = make(batch, view, torch.zeros(channels), torch.ones(channels), size=20)
    return views.mean(0), views.std(0)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_seed_of_torch_alone_fixes_the_views_and_every_sample_has_its_own(channels: int) -> None:
    batch = images(1, channels).expand(8, -1, -1, -1)
    mean, std = torch.zeros(channels), torch.ones(channels)
    views = []
    for elsewhere in (1, 2):
        np.random.seed(elsewhere)
        torch.manual_seed(3)
        views.append(lightly_view(batch, STRONG, mean, std, size=20))
    next_call = lightly_view(batch, STRONG, mean, std, size=20)
    assert torch.equal(*views)
    assert not torch.equal(views[0], next_call)
    assert len(torch.unique(views[0].flatten(1), dim=0)) == 8


@pytest.mark.parametrize("channels", [1, 3])
def test_a_view_of_zero_strength_is_the_normalised_image(channels: int) -> None:
    batch = images(4, channels)
    mean, std = torch.linspace(0.3, 0.5, channels), torch.linspace(0.2, 0.3, channels)
    expected = (batch / 255 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(lightly_view(batch, View(), mean, std, size=20), expected)


def test_the_layout_is_that_of_make_view() -> None:
    batch = images(4)
    for view, side in ((View(), 20), (View(size=12), 12)):
        for make in (make_view, lightly_view):
            made = make(batch, view, torch.zeros(3), torch.ones(3), size=20, dtype=torch.bfloat16)
            assert made.shape == (4, 3, side, side)
            assert made.dtype == torch.bfloat16
            assert made.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "view",
    [
        View(min_scale=0.2),
        View(flip=0.5),
        View(jitter=0.5, brightness=0.3),
        View(jitter=0.5, contrast=0.6),
        View(jitter=0.5, saturation=0.6),
        View(jitter=0.5, hue=0.1),
        View(grayscale=0.5),
        View(blur=0.5),
        View(solarize=0.5),
        View(min_scale=0.2, flip=0.5, hue=0.1, grayscale=0.2, blur=0.5, **JITTER),
    ],
    ids=["crop", "flip", "brightness", "contrast", "saturation", "hue", "grayscale", "blur", "solarize", "all"],
)
def test_pixels_have_the_mean_and_spread_of_make_view(view: View, channels: int) -> None:
    mean, spread = over_draws(lightly_view, view, channels)
    own_mean, own_spread = over_draws(make_view, view, channels)
    assert (mean - own_mean).abs().mean() < 0.015
    # Hue turns in another space of colours, so that single pixels move by more or less.
    assert own_spread.mean().item() == pytest.approx(spread.mean().item(), rel=0.25, abs=1e-6)


def test_the_middle_of_a_turned_image_has_the_mean_and_spread_of_make_view() -> None:
    for view in (View(rotation=30.0), View(shear=30.0)):
        mean, spread = (moment[:, 6:14, 6:14] for moment in over_draws(lightly_view, view, 3))
        own_mean, own_spread = (moment[:, 6:14, 6:14] for moment in over_draws(make_view, view, 3))
        assert (mean - own_mean).abs().mean() < 0.015
        assert own_spread.mean().item() == pytest.approx(spread.mean().item(), rel=0.25)


def test_channels_that_pillow_cannot_show_are_the_users_error() -> None:
    with pytest.raises(UserError, match=r"^transforms is 'lightly', whose views have 1 or 3 channels, not 5"):
        lightly_view(images(1, 5), View(), torch.zeros(5), torch.ones(5), size=20)
