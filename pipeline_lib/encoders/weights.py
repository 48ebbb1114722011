"""Pretrained weights for an encoder: from a file, from a folder that this project wrote, or from timm's hub."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline_lib.core.errors import UserError, shown
from pipeline_lib.encoders import ENCODERS
from pipeline_lib.encoders.backbone import Stem
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.encoders.layouts import find_layout, rename
from pipeline_lib.encoders.sources import HUB, fetch, find, normalisation, place, read

# What trainers put before the keys.
PREFIXES = ("_orig_mod.", "module.", "model.", "encoder_q.", "encoder.", "backbone.")
CLASSIFIERS = ("fc.", "head.", "heads.", "head_dist.", "classifier.", "last_linear.")
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

    Raises UserError for a source that cannot be read, for weights that do not fit and for values that are not finite,
    with the keys.
    """
    if source == HUB:
        state, config = fetch(encoder.name, encoder.channels, encoder.size)
    else:
        path, config = find(source)
        _check_same_encoder(config, encoder, source)
        state = _unwrap(read(path), encoder.backbone)
    message = load_state(encoder.backbone, state, source, encoder.name, partial=partial)
    encoder.pretrained = True
    if spread := normalisation(config):
        encoder.mean.copy_(_to_channels(spread[0], encoder.channels))
        # As in the encoder itself: a constant channel has no spread to divide by.
        encoder.std.copy_(_to_channels(spread[1], encoder.channels).clamp(min=1e-3))
    return message


def stem_of(source: str | None) -> Stem | None:
    """Return the stem that an encoder needs for the weights at ``source``; None, by the size, without any.

    Raises UserError for a source that cannot be read.
    """
    if source is None:
        return None
    if source == HUB:
        return "original"
    path, config = find(source)
    if config:
        return config.get("stem", "original")
    # Files do not say it, but the small stem of a plain ResNet is 3x3 where the original one is 7x7.
    first = [tensor for key, tensor in read(path).items() if f".{key}".endswith(".conv1.weight") and "layer" not in key]
    return "small" if first and first[0].shape[-1] == 3 else "original"


def size_of(source: str, name: str) -> int | None:
    """Return the side, in px, of the pictures that the weights at ``source`` have learnt from, None if unknown.

    A folder of ours says so, and of all others timm knows it by the ``name`` of the model.

    Raises UserError for a source that cannot be read.
    """
    import timm

    config = {} if source == HUB else find(source)[1]
    if "encoder" in config or name in ENCODERS:
        # The folder is the user's, and what it says of itself may be anything.
        return size if isinstance(size := config.get("size"), int) else None
    known = timm.get_pretrained_cfg(name)
    return known.input_size[-1] if known is not None else None


def read_classifier(encoder: Encoder, source: str) -> tuple[Tensor, Tensor] | None:
    """Return the linear classifier that :func:`load_pretrained` leaves out: weights ``[K, D]`` and biases ``[K]``.

    None where there is none on the features of ``encoder``, as with the hub's weights, which come without.
    """
    if source == HUB:
        return None
    path, _ = find(source)
    state = rename(_unwrap(read(path), encoder.backbone), encoder.backbone)
    for prefix in _classifiers(encoder.backbone):
        weight = state.get(f"{prefix}weight")
        if weight is not None and weight.ndim == 2 and len(weight) > 1 and weight.shape[1] == encoder.num_features:
            bias = state.get(f"{prefix}bias", torch.zeros(len(weight)))
            return weight.float(), bias.float()
    return None


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
        way_out = f", or set allow_partial to true to load the {len(fitting)} that fit" if fitting else ""
        raise UserError(f"{place(source)}, which does not fit {name}: {listed}: name weights of that encoder{way_out}")
    broken = [key for key, tensor in fitting.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise UserError(
            f"{place(source)}, which holds values that are not finite, {_listing('broken', broken)}: name the weights "
            "of a training that did not diverge"
        )
    backbone.load_state_dict({**own, **fitting})
    loaded = f"loaded {len(fitting)} of the {len(own)} weights of {name} from {source}"
    return f"{loaded}; {listed}" if listed else loaded


def _check_same_encoder(config: Mapping[str, Any], encoder: Encoder, source: str) -> None:
    name = config.get("encoder", config.get("architecture", encoder.name))
    if name.split(".")[0] != encoder.name.split(".")[0]:
        raise UserError(f"{place(source)}, which holds {shown(name)}: set encoder to that, not to {encoder.name}")


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
            given = state[key].shape[1] if key in state and state[key].ndim == 4 and module.groups == 1 else None
            if given not in (None, module.in_channels):
                from timm.models import adapt_input_conv

                # One channel gets the sum over those given, more channels get them in turn, scaled to the same sum.
                state[key] = adapt_input_conv(module.in_channels, state[key], given)
            break
    position, own = state.get("pos_embed"), backbone.state_dict().get("pos_embed")
    if position is not None and own is not None and position.shape != own.shape and position.ndim == own.ndim == 3:
        whole: Any = backbone
        num_prefix = 0 if getattr(whole, "no_embed_class", False) else getattr(whole, "num_prefix_tokens", 1)
        num_patches = max(position.shape[1] - num_prefix, 0)
        if num_patches and math.isqrt(num_patches) ** 2 == num_patches:
            from timm.layers.pos_embed import resample_abs_pos_embed

            new_size = list(whole.patch_embed.grid_size)
            state["pos_embed"] = resample_abs_pos_embed(position, new_size, num_prefix_tokens=num_prefix)
    return state


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
