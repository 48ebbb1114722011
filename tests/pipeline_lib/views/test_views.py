from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from pipeline_lib.core.errors import UserError
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.views import View, augment, make_view
from pipeline_lib.views import resample as resampling
from pipeline_lib.views.colour import colour_matrix, recolour
from pipeline_lib.views.geometry import random_spans, turn
from pipeline_lib.views.resample import blurred, render, weights

STRONG = View(
    min_scale=0.4,
    rotation=20.0,
    shear=10.0,
    flip=0.5,
    jitter=0.8,
    brightness=0.5,
    contrast=0.5,
    saturation=0.5,
    hue=0.1,
    grayscale=0.3,
    blur=0.5,
    solarize=0.3,
)


def images(num: int = 6, channels: int = 3, size: int = 20) -> Tensor:
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(num, channels, 5, 5), size=size, mode="bicubic")
    return (smooth.clamp(0, 1) * 255).to(torch.uint8)


def view_of(batch: Tensor, view: View, size: int | None = None) -> Tensor:
    """The view in colours of 0-1."""
    channels = batch.shape[1]
    return make_view(batch, view, torch.zeros(channels), torch.ones(channels), size=size or batch.shape[3])


def resized(batch: Tensor, start: Tensor, span: Tensor, mirrored: Tensor, size: int) -> Tensor:
    """Resample both axes of a batch, ``start`` and ``span`` being ``[2, B]``."""
    x = batch.float()
    columns = weights(start[0], span[0], mirrored, x.shape[3], size)
    rows = weights(start[1], span[1], torch.zeros_like(mirrored), x.shape[2], size)
    neutral = torch.eye(x.shape[1], x.shape[1] + 1).expand(len(x), -1, -1)
    return render(x, rows, columns, lambda _: neutral).permute(0, 3, 1, 2)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_view_of_zero_strength_is_the_normalised_image(channels: int) -> None:
    batch = images(channels=channels)
    mean, std = torch.full((channels,), 0.4), torch.full((channels,), 0.3)
    view = make_view(batch, View(), mean, std, size=20)
    torch.testing.assert_close(view, (batch / 255 - 0.4) / 0.3, atol=1e-4, rtol=1e-4)
    assert view.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_seed_fixes_the_views_and_every_sample_has_its_own(channels: int) -> None:
    batch = images(1, channels).expand(8, -1, -1, -1)
    torch.manual_seed(3)
    first = view_of(batch, STRONG)
    torch.manual_seed(3)
    assert torch.equal(first, view_of(batch, STRONG))
    assert len(torch.unique(first.flatten(1), dim=0)) == 8


@pytest.mark.parametrize("name", [field.name for field in fields(View) if field.name not in ("size", "max_scale")])
def test_each_strength_changes_the_view(name: str) -> None:
    colourful = {"jitter": 1.0} if name in ("brightness", "contrast", "saturation", "hue") else {}
    view = replace(View(**colourful), **{name: getattr(STRONG, name)})
    if name == "jitter":
        view = replace(view, brightness=0.5)
    torch.manual_seed(0)
    batch = images(8)
    assert not torch.allclose(view_of(batch, view), view_of(batch, View()), atol=1e-2)


def test_images_of_uint8_in_any_layout_and_of_float_give_the_same_view() -> None:
    batch = images()
    layouts = (batch, batch.float(), batch.contiguous(memory_format=torch.channels_last))
    views = []
    for layout in layouts:
        torch.manual_seed(1)
        views.append(view_of(layout, STRONG))
    assert torch.equal(views[0], views[1])
    assert torch.equal(views[0], views[2])


def test_a_certain_flip_is_a_mirror_image() -> None:
    batch = images()
    torch.testing.assert_close(view_of(batch, View(flip=1.0)), batch.flip(3) / 255, atol=1e-5, rtol=1e-4)


def test_crops_keep_at_least_the_smallest_area_and_stay_inside_the_image() -> None:
    torch.manual_seed(0)
    start, span = random_spans(torch.rand(2000), torch.rand(2000), torch.rand(2, 2000), 0.3, 1.0)
    # A crop wider than the image is cut to it, so its area can end below the share by the aspect ratio at most.
    assert span.prod(dim=0).min() >= 0.3 * 3 / 4
    assert start.min() >= 0
    assert (start + span).max() <= 1 + 1e-6


@pytest.mark.parametrize(("size", "cropped"), [(12, False), (20, False), (40, False), (12, True), (40, True)])
def test_resizing_is_torchvisions_antialiased(size: int, cropped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if cropped:
        monkeypatch.setattr(resampling, "CROPPED_FROM", 1)
        monkeypatch.setattr(resampling, "BLOCK", 7)
    batch = images(4, 3, 31)
    start, span = torch.zeros(2, 4), torch.ones(2, 4)
    ours = resized(batch, start, span, torch.zeros(4, dtype=torch.bool), size)
    expected = tv.resize(batch.float(), [size, size], antialias=True)
    torch.testing.assert_close(ours, expected, atol=1e-2, rtol=1e-4)


def test_a_crop_is_torchvisions_but_for_its_border() -> None:
    batch = images(1, 3, 32)
    start, span = torch.tensor([[0.25], [0.125]]), torch.tensor([[0.5], [0.5]])
    ours = resized(batch, start, span, torch.zeros(1, dtype=torch.bool), 24)
    expected = tv.resized_crop(batch.float(), 4, 8, 16, 16, [24, 24], antialias=True)
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(ours[inside], expected[inside], atol=1e-2, rtol=1e-4)


def test_shrinking_does_not_alias() -> None:
    stripes = (torch.arange(64) % 2 * 255).to(torch.uint8).expand(1, 1, 64, 64).contiguous()
    assert view_of(stripes, View(), size=16).std() < 0.05


def test_rotation_is_torchvisions() -> None:
    batch = images(1).float()
    ours = turn(batch, torch.tensor([17.0]), torch.zeros(1))
    expected = tv.rotate(batch, 17.0, interpolation=v2.InterpolationMode.BILINEAR)
    inside = (slice(None), slice(None), slice(6, 14), slice(6, 14))
    torch.testing.assert_close(ours[inside], expected[inside], atol=0.5, rtol=1e-3)
    assert not torch.allclose(ours[inside], batch[inside], atol=5)


def colours(batch: Tensor, **changes: float) -> Tensor:
    """Apply one change of colour to a batch in 0-1, channels first."""
    neutral = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, "grey": 0.0}
    values = {name: torch.full((len(batch),), value) for name, value in {**neutral, **changes}.items()}
    return recolour(batch, colour_matrix(batch.mean(dim=(2, 3)), **values)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.2])
def test_colour_is_torchvisions_where_nothing_is_clamped(factor: float) -> None:
    batch = images().float() / 255 * 0.5 + 0.2
    torch.testing.assert_close(colours(batch, brightness=factor), tv.adjust_brightness(batch, factor))
    # torchvision takes another grey, (0.2989, 0.587, 0.114), which differs in the fourth digit.
    close = {"atol": 1e-3, "rtol": 1e-3}
    torch.testing.assert_close(colours(batch, contrast=factor), tv.adjust_contrast(batch, factor), **close)
    torch.testing.assert_close(colours(batch, saturation=factor), tv.adjust_saturation(batch, factor), **close)
    torch.testing.assert_close(colours(batch, grey=1.0), tv.rgb_to_grayscale(batch, 3), **close)


def test_colour_keeps_grey_images_grey() -> None:
    grey = images(channels=1).float().expand(-1, 3, -1, -1) / 255
    changed = colours(grey, brightness=0.7, contrast=1.3, saturation=1.8, hue=0.2)
    assert (changed.amax(1) - changed.amin(1)).max() < 5e-3


def test_a_full_turn_of_the_hue_changes_nothing_and_half_a_turn_swaps_the_colours_about_grey() -> None:
    batch = images().float() / 255
    torch.testing.assert_close(colours(batch, hue=1.0), batch, atol=1e-4, rtol=1e-4)
    grey = colours(batch, grey=1.0)
    torch.testing.assert_close(colours(batch, hue=0.5), 2 * grey - batch, atol=5e-3, rtol=1e-3)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_blur_is_torchvisions_inside_and_keeps_constants(sigma: float) -> None:
    batch = images(2, 3, 40).float()
    kernel = blurred(torch.eye(40).repeat(2, 1, 1), torch.full((2,), sigma))
    ours = kernel[:, None] @ batch @ kernel[:, None].transpose(2, 3)
    expected = tv.gaussian_blur(batch, [17, 17], [sigma, sigma])
    torch.testing.assert_close(ours[..., 9:31, 9:31], expected[..., 9:31, 9:31], atol=0.1, rtol=1e-3)
    torch.testing.assert_close(kernel.sum(dim=2), torch.ones(2, 40))


def test_only_the_share_that_blurs_is_touched() -> None:
    torch.manual_seed(0)
    batch = images(400, 1, 12)
    changed = (view_of(batch, View(blur=0.3)) - batch / 255).abs().amax((1, 2, 3)) > 1e-4
    assert 0.2 < changed.float().mean() < 0.4


def test_solarizing_inverts_the_upper_half() -> None:
    batch = images()
    torch.testing.assert_close(view_of(batch, View(solarize=1.0)), tv.solarize(batch / 255, 0.5), atol=1e-5, rtol=1e-4)


def test_colours_stay_in_the_range_of_an_image() -> None:
    view = view_of(images(64), View(jitter=1.0, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2))
    assert view.min() == 0
    assert view.max() == 1


def test_an_image_at_a_time_gives_the_views_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    whole = view_of(images(20), STRONG)
    monkeypatch.setattr(resampling, "CROPPED_FROM", 1)
    monkeypatch.setattr(resampling, "BLOCK", 7)
    torch.manual_seed(0)
    torch.testing.assert_close(view_of(images(20), STRONG), whole, atol=1e-5, rtol=1e-4)


def test_user_settings_reach_every_view_but_leave_the_area_of_local_crops() -> None:
    encoder = Encoder("small_cnn", 1, 20, [0.0], [1.0])
    draw = augment(encoder, {"min_scale": 1.0, "flip": 1.0, "blur": None})(
        View(min_scale=0.1), View(size=10, min_scale=0.1, max_scale=0.2)
    )
    batch = images(6, 1)
    whole, local = draw(batch)
    torch.testing.assert_close(whole, batch.flip(3) / 255, atol=1e-5, rtol=1e-4)
    assert local.shape == (6, 1, 10, 10)
    assert not torch.allclose(local, view_of(batch, View(flip=1.0), size=10), atol=1e-2)


def test_a_local_crop_larger_than_the_view_is_refused() -> None:
    encoder = Encoder("small_cnn", 1, 20, [0.0], [1.0])
    with pytest.raises(UserError, match=r"^local_size is 32 px, but the whole view has 20 px"):
        augment(encoder)(View(size=32))


def test_views_come_in_the_precision_that_training_runs_in() -> None:
    encoder = Encoder("small_cnn", 1, 20, [0.0], [1.0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (half,) = augment(encoder)(View())(images(2, 1))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), images(2, 1) / 255, atol=4e-3, rtol=4e-3)
