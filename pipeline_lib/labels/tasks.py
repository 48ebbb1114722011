"""What is learnt of each label, and from where: it follows from which images are labelled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.registry import pick
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import class_name, labelled

LearnFrom = Literal["source", "target", "both"]
# What a run does with a label, by whether it is learnt from the source and whether the target's test split has it.
APPLIES = {
    "multi-task and transductive": "multi-task on both domains; transductive, scored",
    "inductive": "inductive: self-taught and multi-task on the target's train split",
    "transductive": "transductive, not scorable: label-free scores only",
    "unsupervised": "unsupervised: structure only",
}
SPLITS = ("train", "test")
LONGEST_NAME = 40


class Role(Protocol):
    """What is asked of a role here; :class:`pipeline_lib.data.roles.Role` has it."""

    @property
    def labels(self) -> Sequence[str]:
        """The names of the labels that were read."""

    def label(self, name: str) -> np.ndarray:
        """Return the stored values of a label, ``[N]``."""

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers (int64) of the split "train" or "test"."""


@dataclass(frozen=True)
class LabelSetting:
    """What a user says about a label: its kind, where it is learnt from (None: see below), the order of its classes."""

    kind: str
    learn_from: LearnFrom | None = None
    order: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Task:
    """A label, and what there is to learn of it.

    ``spec`` describes the training images that it is learnt from, and is empty for "nothing". ``counts`` has the
    numbers of labelled images: source_train, source_test, target_train, target_test. ``problem`` is the clause that
    says why nothing is learnt, ``passed_over`` why the source is not, though training images of it are labelled.
    """

    name: str
    kind: str
    learn_from: Literal["source", "target", "both", "nothing"]
    spec: Mapping[str, Any]
    counts: Mapping[str, int]
    problem: str | None = None
    passed_over: str | None = None


def resolve_tasks(source: Role, target: Role, settings: Mapping[str, LabelSetting]) -> dict[str, Task]:
    """Return the tasks in the order of ``settings``.

    A label is learnt from the source's training images where it can be learnt from them, else from the target's, else
    not at all; ``learn_from`` says otherwise. Raises UserError where a role that it names has no labelled training
    image.
    """
    return {name: _task(name, setting, {"source": source, "target": target}) for name, setting in settings.items()}


def cell(task: Task) -> str:
    """Return which of APPLIES holds for a task."""
    if task.learn_from == "nothing":
        return "unsupervised"
    if task.learn_from == "target":
        return "inductive"
    # Labels of the target's training images alone score nothing.
    return "multi-task and transductive" if task.counts["target_test"] else "transductive"


def explain(task: Task) -> str:
    """Return one sentence: what applies to a task, what does not, and which labels would make it apply."""
    if task.learn_from == "nothing":
        return _not_learnt(task)
    roles = ("source", "target") if task.learn_from == "both" else (task.learn_from,)
    counts = [task.counts[f"{role}_train"] for role in roles]
    learnt = " and ".join(f"the {role}'s {count:,}" for role, count in zip(roles, counts, strict=True))
    parts = [f"'{task.name}' is learnt from {learnt} labelled training {_images(counts[-1])}"]
    tested = task.counts["target_test"]
    if tested:
        parts[0] += f" and scored on {tested:,} labelled test {_images(tested)} of the target"
    elif task.counts["target_train"]:
        parts.append("to score it, label some of the target's test images too")
    else:
        parts.append("on the target only scores without labels apply until some of its test images are labelled")
    if task.passed_over:
        parts.append(f"the source is left out, as {task.passed_over}")
    elif task.learn_from == "target":
        parts.append("to carry it over, label some training images of the source")
    return "; ".join(parts) + "."


def table(tasks: Mapping[str, Task]) -> list[str]:
    """Return the lines of a table of what applies, for a terminal."""
    if not tasks:
        return [f"No label is named: {APPLIES['unsupervised']}."]
    header = ("label", "kind", "source train/test", "target train/test", "learnt from", "what applies")
    rows = [
        (
            _shortened(task.name),
            task.kind,
            *("/".join(f"{task.counts[f'{role}_{split}']:,}" for split in SPLITS) for role in ("source", "target")),
            task.learn_from,
            APPLIES[cell(task)],
        )
        for task in tasks.values()
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (header, *rows)]


def _task(name: str, setting: LabelSetting, roles: Mapping[str, Role]) -> Task:
    kind = pick(KINDS, setting.kind, f"the kind of the label '{name}'")
    order = None if setting.order is None else [class_name(one) for one in setting.order]
    values = {(role, split): one.label(name)[one.rows(split)] for role, one in roles.items() for split in SPLITS}
    counts = {f"{role}_{split}": int(labelled(column).sum()) for (role, split), column in values.items()}

    def describe(*names: str) -> tuple[dict[str, Any], str | None]:
        spec = kind.describe(np.concatenate([values[role, "train"] for role in names]), order)
        return spec, spec.pop("problem")

    def learnt(where: LearnFrom, spec: Mapping[str, Any], passed_over: str | None = None) -> Task:
        return Task(name, setting.kind, where, spec, counts, passed_over=passed_over)

    def not_learnt(problem: str | None) -> Task:
        return Task(name, setting.kind, "nothing", {}, counts, problem)

    if setting.learn_from is not None:
        names = ("source", "target") if setting.learn_from == "both" else (setting.learn_from,)
        _refuse_unlabelled(name, setting.learn_from, [role for role in names if not counts[f"{role}_train"]])
        spec, problem = describe(*names)
        passed_over = "learn_from is target" if names == ("target",) and counts["source_train"] else None
        return not_learnt(problem) if problem else learnt(setting.learn_from, spec, passed_over)
    spec, source_problem = describe("source")
    if not source_problem:
        return learnt("source", spec)
    spec, target_problem = describe("target")
    if not target_problem:
        return learnt("target", spec, f"there {source_problem}" if counts["source_train"] else None)
    # Of two roles the one with labels says more.
    return not_learnt(source_problem if counts["source_train"] else target_problem)


def _refuse_unlabelled(name: str, learn_from: str, without: Sequence[str]) -> None:
    if without:
        raise UserError(
            f"the label '{name}' is to be learnt from {learn_from}, but the {without[0]} has no training image with "
            "it: label some, or leave learn_from out to learn it from where it is labelled"
        )


def _not_learnt(task: Task) -> str:
    training = task.counts["source_train"] + task.counts["target_train"]
    tested = task.counts["source_test"] + task.counts["target_test"]
    if training:
        return (
            f"'{task.name}' is not learnt: {task.problem}; correct or add labels of the source's training images to "
            "carry it over, or of the target's to learn it there."
        )
    if tested:
        return (
            f"'{task.name}' is not learnt, as all of its {tested:,} labelled images are test images, which only score: "
            "label some training images of the source to carry it over, or of the target to learn it there."
        )
    return (
        f"'{task.name}' is labelled nowhere, so nothing is learnt of it: label some images of the source to carry it "
        "over, or of the target to learn it there."
    )


def _images(count: int) -> str:
    return "image" if count == 1 else "images"


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
