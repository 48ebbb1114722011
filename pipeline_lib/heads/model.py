"""The multi-task model: a shared encoder and a head for each label."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pipeline_lib.core.files import read_json
from pipeline_lib.encoders.encoder import Encoder, from_config, load_weights
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import Spec


class MultiTask(nn.Module):
    """An encoder with one head per label, or none.

    ``specs`` describes the labels by their names, as :meth:`~pipeline_lib.labels.kind.Kind.describe` does. ``heads``
    is in their order: torch takes few names for a module, and users may have any.
    """

    def __init__(self, encoder: Encoder, specs: Mapping[str, Spec]) -> None:
        super().__init__()
        self.encoder, self.specs = encoder, dict(specs)
        self.heads = nn.ModuleList(KINDS[spec["kind"]].head(encoder.num_features, spec) for spec in specs.values())

    def head(self, name: str) -> nn.Module:
        """Return the head of the label ``name``."""
        return self.heads[list(self.specs).index(name)]

    def forward(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        """Map normalised images to the outputs of every head, ``[B, K]`` each."""
        return self.outputs(self.encoder(x_BCHW))

    def outputs(self, features_BD: Tensor) -> dict[str, Tensor]:
        """Map features to the outputs of every head, ``[B, K]`` each."""
        return {name: head(features_BD) for name, head in zip(self.specs, self.heads, strict=True)}

    def config(self) -> dict[str, Any]:
        """Return what rebuilds this model."""
        # A list, because JSON objects are written in the order of their keys, not in that of the heads.
        return {**self.encoder.config(), "labels": [{"name": name, **spec} for name, spec in self.specs.items()]}


def load_multi_task(folder: Path) -> MultiTask:
    """Read a model that was saved with its ``config()``."""
    config = read_json(folder / "config.json")
    specs = {spec["name"]: {key: value for key, value in spec.items() if key != "name"} for spec in config["labels"]}
    model = MultiTask(from_config(config), specs)
    load_weights(model, folder)
    return model
