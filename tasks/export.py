"""Write a model as ONNX, checked against torch, with a card that says what it is and what it is not for."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import atomic, read_json, write_json, write_text
from pipeline_lib.core.progress import say
from pipeline_lib.data.dataset import CARD, IMAGES
from pipeline_lib.data.rows import Images
from pipeline_lib.use.card import card, page
from pipeline_lib.use.model import Usable
from pipeline_lib.use.to_onnx import difference, refuse_missing, write_onnx
from tasks.predict import add_model, model_folder, model_of
from tasks.roles import DATASETS
from tasks.stage import guarded, refuse_unwritable

FILES = {"model.onnx", "card.json", "README.md"}
EVALUATION = Path("reports/evaluation.json")
MODELS = Path("models")
# Of each dataset, by which the file is checked.
MOST_IMAGES = 128


def main() -> None:
    """Export, and say how far the file is from the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=f"gets {', '.join(sorted(FILES))}")
    add_model(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of a mistake")
    arguments = parser.parse_args()
    refuse_missing()
    _refuse_others(arguments.out)
    refuse_unwritable([arguments.out])
    usable, folder = model_of(arguments), model_folder(arguments)
    ours = folder.resolve().is_relative_to(MODELS.resolve())
    cards = {name: read_json(DATASETS / name / CARD) for name in _at_hand(usable)} if ours else {}
    images, what = _images(usable, cards)
    with atomic(arguments.out) as partial:
        partial.mkdir()
        say("export: translating the model, which takes up to a minute")
        write_onnx(partial / "model.onnx", usable)
        apart = difference(partial / "model.onnx", usable, images)
        evaluation = read_json(EVALUATION) if ours and EVALUATION.is_file() else None
        found = card(usable, cards, evaluation, apart)
        write_json(partial / "card.json", found)
        write_text(partial / "README.md", page(found))
    say(f"export: {arguments.out} differs from the model by {apart:.1g} at most, on {len(images)} {what}")


def _refuse_others(out: Path) -> None:
    """Raise UserError for a place that holds anything but an export of before, which would be lost."""
    if out.is_dir():
        others = sorted({path.name for path in out.iterdir()} - FILES)
        if others:
            raise UserError(f"--out is {out}, which holds other files ({others[0]}): name a new folder")
    elif out.exists() or out.is_symlink():
        raise UserError(f"--out is {out}, which is a file: name a folder")


def _at_hand(usable: Usable) -> list[str]:
    return [name for name in usable.config["framing"] if (DATASETS / name / CARD).is_file()]


def _images(usable: Usable, cards: Mapping[str, Any]) -> tuple[np.ndarray, str]:
    """Return images to compare by, uint8 ``[N, H, W, C]``, and what they are: those of datasets where there are any."""
    shape = (usable.framing["size"], usable.framing["size"], usable.framing["channels"])
    datasets = [Images(DATASETS / name / IMAGES) for name, card in cards.items() if tuple(card["shape"][1:]) == shape]
    if not datasets:
        drawn = np.random.default_rng(0).integers(0, 256, (MOST_IMAGES, *shape), np.uint8)
        return drawn, "random images, since no dataset of its own is here"
    return np.concatenate([images[:MOST_IMAGES] for images in datasets]), "images of its datasets"


if __name__ == "__main__":
    guarded(main)
