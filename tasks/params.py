"""The whole of params.yaml: what its blocks must say together.

A stage reads its own part by :mod:`tasks.settings`, and this module can only refuse what is written: so no stage
depends on it, and a new key of one block is none of the others' business.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, model_validator

from pipeline_lib.core.errors import UserError, nearest, shown
from tasks.blocks.adapt import Adapt
from tasks.blocks.audit import Audit
from tasks.blocks.base import listed, repeated
from tasks.blocks.compare import Compare
from tasks.blocks.datasets import GROUP, Ingested
from tasks.blocks.embed import Embed
from tasks.blocks.evaluate import Evaluate
from tasks.blocks.heads import Heads
from tasks.blocks.image import Framed
from tasks.blocks.labels import CLASS_KINDS, Primary
from tasks.blocks.pretrain import Pretrain
from tasks.blocks.rank import BUILT_IN, Rank
from tasks.blocks.report import Report
from tasks.blocks.select import Select
from tasks.blocks.shared import Computed, Drawn, Roles, Trained
from tasks.settings import parse
from tasks.yaml_files import PARAMS_FILE, read_yaml


# The last of these comes first in params.yaml.
class Params(Primary, Roles, Ingested, Framed, Computed, Trained, Drawn):
    """The whole of params.yaml."""

    model_config = ConfigDict(extra="forbid")

    audit: Audit = Audit()
    select: Select = Select()
    compare: Compare = Compare()
    rank: Rank = Rank()
    pretrain: Pretrain = Pretrain()
    heads: Heads = Heads()
    adapt: Adapt = Adapt()
    embed: Embed = Embed()
    evaluate: Evaluate = Evaluate()
    report: Report = Report()

    @model_validator(mode="after")
    def _seeds_differ(self) -> "Params":
        if (twice := repeated(self.seeds)) is not None:
            raise ValueError(f"seeds names {twice} twice, which would count one training as two: name it once")
        return self

    @model_validator(mode="after")
    def _roles_name_datasets(self) -> "Params":
        # Names under which the scores of roles, and of what was held out, are kept beside those of datasets.
        if taken := [name for name in ("source", "target", "heads") if name in self.datasets]:
            raise ValueError(f"datasets has the name '{taken[0]}', which is taken: give it another")
        for role, names in (("source", self.source), ("target", self.target)):
            for name in names:
                if name not in self.datasets:
                    raise ValueError(
                        f"{role} names {shown(name)}, which is not among the datasets: they are "
                        f"{listed(self.datasets)}{nearest(name, self.datasets)}"
                    )
            if (twice := repeated(names)) is not None:
                raise ValueError(f"{role} names '{twice}' twice: name it once")
        if shared := [name for name in self.source if name in self.target]:
            raise ValueError(
                f"'{shared[0]}' is both in source and in target, so nothing could be carried over to it: "
                "take it out of one of them"
            )
        return self

    @model_validator(mode="after")
    def _columns_are_of_labels(self) -> "Params":
        for name, spec in self.datasets.items():
            for label in spec.columns:
                if label not in (*self.labels, GROUP):
                    raise ValueError(
                        f"datasets.{name}.columns names {shown(label)}, which is neither {GROUP} nor among the labels: "
                        f"they are {listed(self.labels)}{nearest(label, [*self.labels, GROUP])}"
                    )
        return self

    @model_validator(mode="after")
    def _contents_fit_into_the_frame(self) -> "Params":
        for name, spec in self.datasets.items():
            if spec.content > self.image.size:
                raise ValueError(
                    f"datasets.{name}.content is {spec.content} px, larger than image.size, which is "
                    f"{self.image.size}: lower it, or raise image.size"
                )
        return self

    @model_validator(mode="after")
    def _views_fit_into_the_images(self) -> "Params":
        if (self.pretrain.size or 0) > self.image.size:
            raise ValueError(
                f"pretrain.size is {self.pretrain.size} px, larger than image.size, which is {self.image.size}: "
                "lower it, or null takes the whole image"
            )
        return self

    @model_validator(mode="after")
    def _features_are_of_candidates(self) -> "Params":
        known = [*BUILT_IN, *self.compare.encoders]
        if self.rank.features not in known:
            raise ValueError(
                f"rank.features is {shown(self.rank.features)}, which is not among the candidates: they are "
                f"{listed(known)}{nearest(self.rank.features, known)}"
            )
        return self

    @model_validator(mode="after")
    def _named_labels_are_labels(self) -> "Params":
        for key, name in (("primary", self.primary), ("pretrain.watch", self.pretrain.watch)):
            if name is not None and name not in self.labels:
                raise ValueError(
                    f"{key} is {shown(name)}, which is not in the labels block: they are {listed(self.labels)}"
                    f"{nearest(name, self.labels)}"
                )
        watched = self.pretrain.watch
        if watched is not None and self.labels[watched].kind not in CLASS_KINDS:
            raise ValueError(
                f"pretrain.watch is {shown(watched)}, a {self.labels[watched].kind} label, which the probe cannot "
                f"watch: name one that is {' or '.join(CLASS_KINDS)}, or null"
            )
        return self


def read_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml, as :func:`tasks.settings.read_settings` does a part of it."""
    return check_params(read_yaml(path), path)


def check_params(raw: Mapping[str, Any], path: Path = PARAMS_FILE) -> Params:
    """Check what ``path`` holds, as :func:`read_params`."""
    _refuse_blocks_of_roles(raw, path)
    return parse(Params, raw, path)


def _refuse_blocks_of_roles(raw: Mapping[str, Any], path: Path) -> None:
    """Say how a file is written now whose source and target are blocks, as they were before there were datasets."""
    old = [role for role in ("source", "target") if isinstance(raw.get(role), Mapping)]
    if old:
        blocks = ", ".join(f"my_{role}: {{the lines that stand under {role}}}" for role in old)
        roles = ", ".join(f"{role}: [my_{role}]" for role in old)
        raise UserError(
            f"{path}: '{old[0]}' is a block, but roles name datasets now: write datasets: {{{blocks}}}, and {roles}; "
            "the block 'transfer' is called 'evaluate', and seeds: [0] lists what is trained"
        )
