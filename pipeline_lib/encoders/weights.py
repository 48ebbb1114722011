"""Pretrained weights for an encoder: from a file, from a folder that this project wrote, or from timm's hub."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json
from pipeline_lib.encoders import ENCODERS
from pipeline_lib.encoders.backbone import Stem, size_options
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.encoders.layouts import find_layout, rename

HUB = "hub"
# Where trainers put the weights among their other state, and what they put before the keys.
WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher")
PREFIXES = ("_orig_mod.", "module.", "model.", "encoder_q.", "encoder.", "backbone.")
CLASSIFIERS = ("fc.", "head.", "heads.", "head_dist.", "classifier.", "last_linear.")
TORCH_FILES = (".pt", ".pth", ".bin", ".ckpt")
SHOWN = 3  # keys of each kind that a message lists


def load_pretrained(encoder: Encoder, source: str, *, partial: bool = False) -> str:
    """Load weights into ``encoder`` and return one sentence that says what was loaded.

    ``source`` is a .safetensors or torch file; a folder with model.safetensors and config.json, as ``save_model`` or
    timm's hub has it; or "hub", timm's own weights. Classifiers are left out, the first convolution is summed or
    repeated to the encoder's channels, position embeddings are resampled. ``partial`` takes the weights that fit and
    leaves the others as they are.

    ``mean`` and ``std`` become those that the weights were trained with, where the source says so: the hub and the
    folders do. A file of weights alone does not, and the images' own stay: pixels of mean 0 and spread 1 are what the
    first layer saw in training too, whatever the numbers that brought them there.

    Raises UserError for a source that cannot be read and for weights that do not fit, with the keys.
    """
    if source == HUB:
        state, mean, std = _fetch(encoder)
    else:
        path, config = _find(source)
        _check_same_encoder(config, encoder, source)
        state = _unwrap(_read(path), encoder.backbone)
        trained = config.get("pretrained_cfg", config)
        mean, std = trained.get("mean"), trained.get("std")
    message = load_state(encoder.backbone, state, source, encoder.name, partial=partial)
    encoder.pretrained = True
    if mean and std:
        encoder.mean.copy_(_to_channels(mean, encoder.channels))
        encoder.std.copy_(_to_channels(std, encoder.channels))
    return message


def stem_of(source: str | None) -> Stem | None:
    """Return the stem that an encoder needs for the weights at ``source``; None, by the size, without any.

    Raises UserError for a source that cannot be read.
    """
    if source is None:
        return None
    if source == HUB:
        return "original"
    path, config = _find(source)
    if config:
        return config.get("stem", "original")
    # Files do not say it, but the small stem of a plain ResNet is 3x3 where the original one is 7x7.
    first = [
        tensor for key, tensor in _read(path).items() if f".{key}".endswith(".conv1.weight") and "layer" not in key
    ]
    return "small" if first and first[0].shape[-1] == 3 else "original"


def load_state(
    backbone: nn.Module, state: Mapping[str, Tensor], source: str, name: str, *, partial: bool = False
) -> str:
    """Load tensors under timm's or a known foreign layout's keys into ``backbone``; return what was loaded.

    ``source`` and ``name``, the encoder's, are for messages. Raises UserError as :func:`load_pretrained` does.
    """
    own = backbone.state_dict()
    state = _adapt(rename(state, backbone), backbone)
    # What counts the batches of a running mean is absent from old files, and has no part in the outputs.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own and not key.startswith(_classifiers(backbone))]
    reshaped = [key for key in own if key in state and state[key].shape != own[key].shape]
    fitting = {key: state[key] for key in own if key in state and key not in reshaped}
    problems = [
        _listing("missing", missing),
        _listing("unexpected", unexpected),
        _listing("of another shape", [f"{key} {_shape(state[key])}, not {_shape(own[key])}" for key in reshaped]),
    ]
    listed = "; ".join(problem for problem in problems if problem)
    if listed and not (partial and fitting):
        way_out = f", or set pretrain.allow_partial: true to load the {len(fitting)} that fit" if fitting else ""
        raise UserError(
            f"pretrain.weights in params.yaml is '{source}', which does not fit {name}: {listed}: "
            f"name weights of that encoder{way_out}"
        )
    backbone.load_state_dict({**own, **fitting})
    loaded = f"loaded {len(fitting)} of the {len(own)} weights of {name} from {source}"
    return f"{loaded}; {listed}" if listed else loaded


def _fetch(encoder: Encoder) -> tuple[dict[str, Tensor], Sequence[float], Sequence[float]]:
    where = f"pretrain.weights in params.yaml is '{HUB}'"
    known = None if encoder.name in ENCODERS else timm.get_pretrained_cfg(encoder.name)
    if known is None or not known.has_weights:
        raise UserError(f"{where}, which has no weights for {encoder.name}: choose an encoder that has, or null")
    options = size_options(encoder.name, encoder.size, "original")
    try:
        backbone = timm.create_model(encoder.name, pretrained=True, num_classes=0, in_chans=encoder.channels, **options)
    except Exception as error:  # the libraries below have many kinds for a network that is not there
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(
            f"{where}, which cannot be reached ({reason}): check the network, or name a file of weights"
        ) from None
    return backbone.state_dict(), known.mean, known.std


def _find(source: str) -> tuple[Path, dict[str, Any]]:
    """Return the file of weights and the config beside it, empty for a file alone."""
    path = Path(source).expanduser()
    if path.name == "model.safetensors" and (path.parent / "config.json").is_file():
        path = path.parent
    if not path.is_dir():
        return path, {}
    if not (path / "model.safetensors").is_file() or not (path / "config.json").is_file():
        raise UserError(
            f"pretrain.weights in params.yaml is '{source}', a folder without model.safetensors and config.json: "
            "name a folder that has both, or a file of weights"
        )
    try:
        return path / "model.safetensors", read_json(path / "config.json")
    except ValueError:
        raise UserError(
            f"pretrain.weights in params.yaml is '{source}', whose config.json is broken: write or download it again"
        ) from None


def _check_same_encoder(config: Mapping[str, Any], encoder: Encoder, source: str) -> None:
    name = config.get("encoder", config.get("architecture", encoder.name))
    if name.split(".")[0] != encoder.name.split(".")[0]:
        raise UserError(
            f"pretrain.weights in params.yaml is '{source}', which holds {name}: "
            f"set pretrain.encoder to that, not to {encoder.name}"
        )


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file, by key."""
    where = f"pretrain.weights in params.yaml is '{path}'"
    if not path.is_file():
        raise UserError(f"{where}, which does not exist: name a file or a folder of weights, '{HUB}', or null")
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


def _unwrap(state: dict[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Take away what trainers put before the keys, and the tensors beside those that have it."""
    for prefix in PREFIXES:
        inner = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
        if inner and find_layout(state) is None and not any(key.startswith(prefix) for key in backbone.state_dict()):
            state = inner
    return state


def _adapt(state: dict[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Fit the first convolution to the channels and position embeddings to the size."""
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d):
            key = f"{name}.weight"
            if key in state and state[key].ndim == 4 and module.groups == 1:
                state[key] = adapt_channels(state[key], module.in_channels)
            break
    position, own = state.get("pos_embed"), backbone.state_dict().get("pos_embed")
    if position is not None and own is not None and position.shape != own.shape and position.ndim == own.ndim == 3:
        whole: Any = backbone
        num_prefix = 0 if getattr(whole, "no_embed_class", False) else getattr(whole, "num_prefix_tokens", 1)
        num_patches = max(position.shape[1] - num_prefix, 0)
        if num_patches and math.isqrt(num_patches) ** 2 == num_patches:
            new_size = list(whole.patch_embed.grid_size)
            state["pos_embed"] = resample_abs_pos_embed(position, new_size, num_prefix_tokens=num_prefix)
    return state


def adapt_channels(weight_OIHW: Tensor, channels: int) -> Tensor:
    """Return a convolution's weights ``[O, channels, H, W]`` whose sum over the channels is as before, as timm does.

    One channel gets the sum; more channels get those there are in turn.
    """
    given = weight_OIHW.shape[1]
    if channels == given:
        return weight_OIHW
    if channels == 1:
        return weight_OIHW.sum(dim=1, keepdim=True)
    return weight_OIHW.repeat(1, math.ceil(channels / given), 1, 1)[:, :channels] * (given / channels)


def _to_channels(values: Sequence[float], channels: int) -> Tensor:
    """Return the values, or their average for every channel where the number of channels differs."""
    given = torch.tensor(values, dtype=torch.float32)
    return given if len(given) == channels else given.mean().repeat(channels)


def _classifiers(backbone: nn.Module) -> tuple[str, ...]:
    named = getattr(backbone, "pretrained_cfg", {}).get("classifier") or ()
    return (*CLASSIFIERS, *(f"{name}." for name in ((named,) if isinstance(named, str) else named)))


def _listing(kind: str, keys: Sequence[str]) -> str:
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{len(keys)} {kind} ({', '.join(keys[:SHOWN])}{more})" if keys else ""


def _shape(tensor: Tensor) -> str:
    return "x".join(str(length) for length in tensor.shape)
