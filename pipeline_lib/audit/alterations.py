"""What happens to a picture on its way into a second set: the alterations that a copy is planted with."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

Alteration = Callable[[Image.Image, np.random.Generator], Image.Image]


def exact(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Change nothing."""
    return picture


def reencoded(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Pass through JPEG at a quality of 40 to 90."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(rng.integers(40, 91)))
    return Image.open(file).convert(picture.mode)


def rescaled(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Shrink to 50 to 90 % of the side, and enlarge to the old size."""
    share = rng.uniform(0.5, 0.9)
    small = picture.resize(_scaled(picture, share), Image.Resampling.BILINEAR)
    return small.resize(picture.size, Image.Resampling.BICUBIC)


def cropped(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Keep 80 to 95 % of the side, anywhere, and enlarge it to the old size."""
    share = rng.uniform(0.8, 0.95)
    left, top = (rng.uniform(0, (1 - share) * side) for side in picture.size)
    box = (left, top, left + share * picture.width, top + share * picture.height)
    return picture.resize(picture.size, Image.Resampling.BICUBIC, box)


def reframed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Shrink to 70 to 90 % of the side and put that anywhere on a ground of one colour: black, grey or white."""
    inner = picture.resize(_scaled(picture, rng.uniform(0.7, 0.9)), Image.Resampling.BICUBIC)
    ground = int(rng.choice([0, 128, 255]))
    outer = Image.new(picture.mode, picture.size, (ground,) * len(picture.getbands()))
    free = picture.width - inner.width, picture.height - inner.height
    outer.paste(inner, (int(rng.integers(free[0] + 1)), int(rng.integers(free[1] + 1))))
    return outer


def contrast(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Scale the contrast about the middle grey by 0.6 to 1.3 and move the brightness by up to 10 %."""
    scale, move = rng.uniform(0.6, 1.3), rng.uniform(-25, 25)
    return picture.point(
        [round(min(255, max(0, (level - 128) * scale + 128 + move))) for level in range(256)] * len(picture.getbands())
    )


ALTERATIONS: dict[str, Alteration] = {
    "exact": exact,
    "reencoded": reencoded,
    "rescaled": rescaled,
    "cropped": cropped,
    "reframed": reframed,
    "contrast": contrast,
}


def alter(images: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return altered copies of images, uint8 ``[N, H, W, C]`` C 1 or 3; ``kind`` is a key of ALTERATIONS."""
    altered = [np.asarray(ALTERATIONS[kind](Image.fromarray(image.squeeze()), rng)) for image in images]
    return np.stack(altered).reshape(images.shape) if altered else images


def _scaled(picture: Image.Image, share: float) -> tuple[int, int]:
    return max(1, round(picture.width * share)), max(1, round(picture.height * share))
