import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline_lib.data.images import HEAD_BYTES, BrokenImageError, decode, frame, is_image, to_uint8

RAMP = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)


def encoded(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def grey(raw: bytes, **options: object) -> np.ndarray:
    settings = {"size": 8, "channels": 1, "content": 8, "background": 0, "invert": False}
    return frame(decode(raw), **{**settings, **options})[..., 0]


def test_a_picture_that_fits_is_kept_as_it_is() -> None:
    assert (grey(encoded(Image.fromarray(RAMP))) == RAMP).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_greys_keep_their_levels(form: str) -> None:
    picture = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert decode(encoded(picture, form)).mode.startswith("I;16")
    assert (grey(encoded(picture, form)) == RAMP).all()


def test_32_bit_greys_are_scaled_from_their_own_range() -> None:
    floats = RAMP.astype(np.float32) / 255 * 3 - 1
    assert (grey(encoded(Image.fromarray(floats), "TIFF")) == RAMP).all()
    assert (grey(encoded(Image.fromarray(RAMP.astype(np.int32) * 100_000), "TIFF")) == RAMP).all()


def test_floats_that_are_not_finite_do_no_harm() -> None:
    floats = RAMP.astype(np.float32)
    floats[0, 0], floats[7, 7] = np.nan, np.inf
    floats[7, 6] = 255
    result = grey(encoded(Image.fromarray(floats), "TIFF"))
    assert result[0, 0] == 0 and result[7, 7] == 255
    with pytest.raises(BrokenImageError, match="no finite value"):
        grey(encoded(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"))


def test_one_level_in_32_bit_is_black() -> None:
    assert (grey(encoded(Image.fromarray(np.full((8, 8), 7, np.float32)), "TIFF")) == 0).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("mode", "form"),
    [("1", "PNG"), ("L", "PNG"), ("P", "GIF"), ("RGB", "PNG"), ("RGBA", "PNG"), ("LA", "PNG"), ("CMYK", "TIFF"),
     ("CMYK", "JPEG"), ("YCbCr", "JPEG"), ("LAB", "TIFF"), ("I;16", "PNG"), ("F", "TIFF"), ("RGB", "WEBP"),
     ("RGB", "BMP")],
)  # fmt: skip
def test_every_mode_is_framed(mode: str, form: str, channels: int) -> None:
    picture = (
        Image.new(mode, (9, 5)) if mode in ("LAB", "I;16", "F") else Image.new("RGB", (9, 5), "white").convert(mode)
    )
    result = frame(decode(encoded(picture, form)), 8, channels, 8, 0, False)
    assert result.shape == (8, 8, channels) and result.dtype == np.uint8
    if mode not in ("LAB", "I;16", "F"):
        assert result[4, 4].min() >= 250 and result[0].max() == 0


def test_transparency_shows_the_background_inverted_or_not() -> None:
    picture = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    picture.putpixel((4, 4), (255, 255, 255, 255))
    for content in (encoded(picture), encoded(picture.convert("LA")), encoded(picture.quantize())):
        for invert in (False, True):
            result = grey(content, background=40, invert=invert, size=10)
            assert result[5, 5] == (0 if invert else 255)
            result[5, 5] = 40
            assert (result == 40).all()


def test_a_transparent_palette_entry_shows_the_background() -> None:
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.info["transparency"] = 0
    assert (grey(encoded(picture, transparency=0), background=77) == 77).all()


def test_invert_comes_before_framing() -> None:
    result = grey(encoded(Image.new("L", (8, 8), 200)), size=12, background=9, invert=True)
    assert (result[2:10, 2:10] == 55).all()
    result[2:10, 2:10] = 9
    assert (result == 9).all()


@pytest.mark.parametrize("invert", [False, True])
def test_levels_stretch_the_picture_and_leave_the_background(invert: bool) -> None:
    picture = Image.fromarray(255 - RAMP if invert else RAMP).convert("LA")
    picture.putpixel((7, 7), (0, 0))
    result = grey(encoded(picture), size=12, background=100, levels=(64, 192), invert=invert).astype(int)
    expected = np.full((12, 12), 100)
    expected[2:10, 2:10] = ((RAMP.astype(int) - 64) / 128 * 255).clip(0, 255)
    expected[9, 9] = 100
    assert abs(result - expected).max() <= 1


@pytest.mark.parametrize(("width", "height", "box"), [(40, 20, (20, 10)), (10, 30, (7, 20)), (500, 1, (20, 1))])
def test_content_is_the_longer_side_and_the_picture_is_centred(width: int, height: int, box: tuple[int, int]) -> None:
    result = grey(encoded(Image.new("L", (width, height), 255)), size=28, content=20)
    rows, columns = np.flatnonzero(result.any(axis=1)), np.flatnonzero(result.any(axis=0))
    assert (len(columns), len(rows)) == box
    assert abs(rows[0] - (27 - rows[-1])) <= 1 and abs(columns[0] - (27 - columns[-1])) <= 1


def test_shrinking_does_not_alias() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    result = grey(encoded(Image.fromarray(stripes)), size=16, content=16).astype(int)
    assert abs(result - 127).max() <= 10
    small = np.asarray(Image.fromarray(stripes).resize((16, 16), Image.Resampling.NEAREST)).astype(int)
    assert abs(small - 127).max() > 100, "the picture would not show aliasing"


def test_exif_orientation_is_applied() -> None:
    picture = Image.new("L", (8, 4), 0)
    picture.paste(255, (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    result = grey(encoded(picture, "JPEG", quality=100, exif=exif.tobytes()))
    assert result[:4, 2:6].min() > 200 and result[4:, 2:6].max() < 50


def test_the_first_frame_of_an_animation_is_read() -> None:
    frames = [Image.new("L", (8, 8), value) for value in (200, 10, 90)]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (grey(content) == 200).all()


def bomb() -> bytes:
    """A PNG of a few bytes that claims to be 60,000 px wide and high."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(9)))]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: b"", "empty file"),
        (lambda: b"not a picture, whatever it is called", "not a BMP"),
        (lambda: encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)))[:-900],
         "truncated or corrupt"),
        (lambda: encoded(Image.effect_noise((64, 64), 90), "JPEG")[:900], "truncated or corrupt"),
        (bomb, "more than .* pixels"),
        (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not a BMP"),
    ],
    ids=["empty", "text", "truncated png", "truncated jpeg", "bomb", "postscript"],
)  # fmt: skip
def test_what_is_no_whole_picture_is_refused(make: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(BrokenImageError, match=reason):
        decode(make())


def test_pillows_limit_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(encoded(Image.new("L", (10, 10)))).size == (10, 10)
    with pytest.raises(BrokenImageError, match="more than 100 pixels"):
        decode(encoded(Image.new("L", (10, 11))))


def test_corrupt_bytes_never_raise_anything_else() -> None:
    rng = np.random.default_rng(0)
    noise = Image.effect_noise((32, 32), 80)
    contents = [encoded(noise, form) for form in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP")]
    for content in contents * 20:
        damaged = bytearray(content)
        for position in rng.integers(0, len(damaged), 8):
            damaged[position] = rng.integers(0, 256)
        try:
            result = frame(decode(bytes(damaged)), 8, 1, 8, 0, False)
        except BrokenImageError:
            continue
        assert result.shape == (8, 8, 1)


def test_a_mode_without_conversion_is_refused() -> None:
    with pytest.raises(BrokenImageError, match="La"):
        to_uint8(Image.new("La", (4, 4)), 1, 0)


def test_levels_stretch_the_contrast_between_two_values() -> None:
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    result = frame(ramp, 16, 1, 16, 0, False, (64, 224)).ravel()
    np.testing.assert_array_equal(result, np.rint((np.arange(256.0) - 64).clip(0, 160) / 160 * 255))
    colour = frame(ramp.convert("RGB"), 16, 3, 16, 0, False, (64, 224))
    assert (colour.reshape(-1, 3) == result[:, None]).all()


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("width", "height"), [(1601, 1200), (900, 1500)])
def test_a_large_jpeg_is_decoded_to_a_smaller_size_and_looks_the_same(
    width: int, height: int, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    picture = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    content = encoded(picture, "JPEG", quality=95, exif=exif.tobytes())
    whole, drafted = decode(content), decode(content, enough=64)
    assert 128 <= max(drafted.size) < 2 * 128 and max(whole.size) == max(width, height)
    assert drafted.info["size"] == whole.size == ((width, height) if orientation == 1 else (height, width))
    options = {"size": 64, "channels": 3, "content": 64, "background": 0, "invert": False}
    difference = np.abs(frame(whole, **options).astype(int) - frame(drafted, **options))
    assert difference.mean() < 2 and np.quantile(difference, 0.99) < 10


@pytest.mark.parametrize("colours", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [
    {}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"optimize": True}, {"quality": 10},
    {"quality": 100}, {"restart_marker_blocks": 2}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"},
], ids=str)  # fmt: skip
def test_the_quick_decoder_gives_the_pixels_of_pillow(colours: str, options: dict[str, Any]) -> None:
    pytest.importorskip("simplejpeg")
    rng = np.random.default_rng(0)
    for width, height in ((32, 32), (33, 17), (1, 1), (130, 8)):
        smooth = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8)).resize((width, height)).convert(colours)
        content = encoded(smooth, "JPEG", **options)
        with Image.open(io.BytesIO(content)) as expected:
            picture = decode(content)
            assert (picture.mode, picture.size) == (expected.mode, expected.size)
            assert (np.asarray(picture) == np.asarray(expected)).all()


def test_what_is_not_much_larger_or_no_jpeg_is_decoded_whole() -> None:
    picture = Image.effect_noise((200, 100), 50)
    for content, enough in ((encoded(picture, "JPEG"), 60), (encoded(picture), 10), (encoded(picture, "JPEG"), 500)):
        assert decode(content, enough=enough).size == (200, 100)
        assert "size" not in decode(content, enough=enough).info


def test_what_has_no_suffix_is_an_image_by_how_it_begins() -> None:
    picture = Image.new("RGB", (20, 20), "red")
    for form in ("AVIF", "GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP"):
        assert is_image(encoded(picture, form)[:HEAD_BYTES])
    for head in (b"", b"BM is a text", b"P1 is a text", b"%PDF-1.7", bytes(16), b"RIFF1234WAVE"):
        assert not is_image(head)
