"""A model folder, with all that its own config says about how it is used on new pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from pipeline_lib.core.errors import UserError, nearest, reason, shown
from pipeline_lib.core.files import read_json
from pipeline_lib.data.images import frame
from pipeline_lib.heads.familiarity import Familiarity, load_familiarity
from pipeline_lib.heads.model import MultiTask, load_multi_task
from pipeline_lib.labels import KINDS


@dataclass(frozen=True)
class Usable:
    """A model with the framing of its pictures.

    ``framing`` are the arguments of :func:`~pipeline_lib.data.images.frame` for pictures like those of the dataset
    ``framed_as``. ``temperatures`` are those by which outputs are divided for calibrated probabilities, by label, where
    the model has one. ``familiarity`` is None for a model that does not know what it was trained on. ``config`` is all
    that the model says of itself.
    """

    model: MultiTask
    framing: Mapping[str, Any]
    framed_as: str
    temperatures: Mapping[str, float]
    familiarity: Familiarity | None
    config: Mapping[str, Any]

    def readable(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return probabilities ``[B, C]``, calibrated where that is known, or numbers ``[B]``, of every label."""
        return {
            label: KINDS[spec["kind"]].readable(outputs[label] / self.temperatures.get(label, 1.0), spec)
            for label, spec in self.model.specs.items()
        }


def load_usable(folder: Path, framed_as: str | None = None) -> Usable:
    """Read the model in ``folder``, to be used on pictures like those of the dataset ``framed_as``.

    Without that it is the first dataset of the target. Raises UserError for a folder without a model, a model without
    labels or of an older version, a damaged one, and an unknown dataset.
    """
    config = _read_config(folder)
    if not config.get("labels"):
        raise UserError(
            f"the model in {folder} has no heads, so it answers nothing: name a folder of models/heads or "
            "models/adapted of a run that learnt a label"
        )
    try:
        framings, target, channels = config["framing"], config["target"], config["channels"]
        framing = {**framings[_framed_as(framed_as, framings, target)], "channels": channels}
        for spec in config["labels"]:
            if spec["kind"] not in KINDS:
                kind = shown(spec["kind"])
                raise UserError(
                    f"the model in {folder} has a label of the kind {kind}, which this version does not know"
                )
        _ = framing["size"], config["encoder"], config["mean"], config["std"]
        calibration = config.get("calibration") or {}
        temperatures = {label: float(found["temperature"]) for label, found in calibration.items() if found}
        if not all(temperature > 0 for temperature in temperatures.values()):
            raise _damaged(folder, _CONFIG)
    except KeyError as error:
        raise UserError(
            f"the model in {folder} is of an older version, whose {_CONFIG} does not say {error}: run the pipeline "
            "again, which makes it anew"
        ) from None
    except (TypeError, ValueError, AttributeError, IndexError):
        raise _damaged(folder, _CONFIG) from None
    try:
        frame(Image.new("L", (1, 1)), **framing)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the framing in {folder / _CONFIG} cannot be used ({reason(error)}): have the model made again"
        ) from None
    try:
        model = load_multi_task(folder)
        known = load_familiarity(folder)
    except FileNotFoundError:
        raise UserError(f"{folder / 'model.safetensors'} is missing: copy the whole folder of the model") from None
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"the model in {folder} cannot be loaded ({reason(error)}): have it made or copied again"
        ) from None
    return Usable(model, framing, _framed_as(framed_as, framings, target), temperatures, known, config)


_CONFIG = "config.json"


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = read_json(folder / _CONFIG)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder} holds no model: run the pipeline first, as with 'make run', or name another"
        ) from None
    except ValueError:
        raise _damaged(folder, _CONFIG) from None
    if not isinstance(config, dict):
        raise _damaged(folder, _CONFIG)
    return config


def _framed_as(name: str | None, framings: Mapping[str, Any], target: list[str]) -> str:
    if name is not None and name not in framings:
        raise UserError(
            f"the model knows no dataset {shown(name)} whose framing it could take, but {', '.join(framings)}"
            f"{nearest(name, framings)}"
        )
    return target[0] if name is None else name


def _damaged(folder: Path, name: str) -> UserError:
    return UserError(f"{folder / name} is cut short or damaged: have the model made or copied again")
