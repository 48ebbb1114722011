"""Where weights come from: files, folders with a config beside the weights, and timm's hub."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline_lib.core.errors import UserError, reason, shown
from pipeline_lib.core.files import read_json
from pipeline_lib.encoders import ENCODERS
from pipeline_lib.encoders.backbone import Stem, size_options

HUB = "hub"
# Where trainers put the weights among their other state.
WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher")
TORCH_FILES = (".pt", ".pth", ".bin", ".ckpt")
STEMS: tuple[Stem, ...] = ("small", "original")


def place(source: str) -> str:
    """Return the beginning of a sentence about the weights at ``source``."""
    return f"weights is '{HUB}'" if source == HUB else f"weights_path is {shown(source)}"


def fetch(name: str, channels: int, size: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the hub's weights for a model of timm, for images of ``channels`` and ``size``, and their config.

    Raises UserError where there are none, and where the hub cannot be reached.
    """
    import timm

    known = None if name in ENCODERS else timm.get_pretrained_cfg(name)
    if known is None or not known.has_weights:
        raise UserError(
            f"{place(HUB)}, which has no weights for {name}: choose an encoder that has, or set weights to random"
        )
    options = size_options(name, size, "original")
    try:
        backbone = timm.create_model(name, pretrained=True, num_classes=0, in_chans=channels, **options)
    except Exception as error:  # the libraries below have many kinds for a network that is not there
        raise UserError(
            f"{place(HUB)}, which cannot be reached ({reason(error)}): check the network, or name a file of weights"
        ) from None
    return backbone.state_dict(), {"mean": known.mean, "std": known.std}


def find(source: str) -> tuple[Path, dict[str, Any]]:
    """Return the file of weights and the config beside it, empty for a file alone.

    The config names the ``encoder`` (or ``architecture``, as timm has it). Raises UserError for what cannot be read.
    """
    path = _expand(source)
    try:
        if path.name == "model.safetensors" and (path.parent / "config.json").is_file():
            path = path.parent
        if not path.is_dir():
            return path, {}
        if not (path / "model.safetensors").is_file() or not (path / "config.json").is_file():
            raise UserError(
                f"{place(source)}, a folder without model.safetensors and config.json: name a folder that has both, or "
                "a file of weights"
            )
        config = read_json(path / "config.json")
    except OSError as error:
        raise _unreadable(source, error) from None
    except (ValueError, RecursionError):
        raise UserError(f"{place(source)}, whose config.json is broken: write or download it again") from None
    if problem := _problem(config):
        raise UserError(f"{place(source)}, whose config.json {problem}: write or download it again")
    return path / "model.safetensors", config


def normalisation(config: Mapping[str, Any]) -> tuple[list[float], list[float]] | None:
    """Return the mean and the spread of pixels that a config names, if it names them."""
    trained = config.get("pretrained_cfg", config)
    return (trained["mean"], trained["std"]) if trained.get("mean") else None


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file, by key. Raises UserError for what is no file of weights by name."""
    where = place(str(path))
    try:
        if not path.is_file():
            raise UserError(f"{where}, which does not exist: name a file or a folder of weights")
        with path.open("rb"):
            pass
    except OSError as error:
        raise _unreadable(str(path), error) from None
    if path.suffix not in (".safetensors", *TORCH_FILES):
        raise UserError(f"{where}: name a file that ends in .safetensors, {', '.join(TORCH_FILES)}")
    try:
        held = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # broken files fail in many ways
        # Torch names the class that a file asks for, and that it refuses to make.
        if "GLOBAL" in str(error):
            raise UserError(
                f"{where}, which holds Python objects beside weights, and loading those could run any code: "
                "save its state_dict alone, best as .safetensors"
            ) from None
        raise UserError(f"{where}, which is broken or not a file of weights: write or download it again") from None
    while wrapper := next(
        (key for key in WRAPPERS if isinstance(held, dict) and isinstance(held.get(key), dict)), None
    ):
        held = held[wrapper]
    items = held.items() if isinstance(held, dict) else ()
    state = {key: value for key, value in items if isinstance(key, str) and isinstance(value, Tensor)}
    if not state:
        raise UserError(f"{where}, which holds no weights by name: save a state_dict")
    return state


def _expand(source: str) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError:  # the home of somebody who is not known
        return Path(source)


def _unreadable(source: str, error: OSError) -> UserError:
    return UserError(f"{place(source)}, which cannot be read ({error.strerror}): mend its permissions, or name another")


def _problem(config: Any) -> str | None:
    """Return what is wrong with a folder's config, as the end of "whose config.json"."""
    if not isinstance(config, dict):
        return "is not a mapping"
    if not isinstance(config.get("encoder", config.get("architecture")), str):
        return "does not name its encoder"
    if (stem := config.get("stem", "original")) not in STEMS:
        return f"has the stem {shown(stem)}, which is not one of {', '.join(STEMS)}"
    trained = config.get("pretrained_cfg", config)
    if not isinstance(trained, dict):
        return "has a pretrained_cfg that is not a mapping"
    mean, std = trained.get("mean"), trained.get("std")
    if mean is None and std is None and "encoder" not in config:  # an old one of the hub
        return None
    if not (_shares(mean) and _shares(std) and len(mean) == len(std)):
        return f"has the mean {shown(mean)} and the std {shown(std)}, which are not a share in 0-1 for each channel"
    return None


def _shares(values: Any) -> TypeGuard[Sequence[float]]:
    return (
        isinstance(values, (list, tuple))
        and len(values) > 0
        and all(isinstance(value, (int, float)) and 0 <= value <= 1 for value in values)
    )
