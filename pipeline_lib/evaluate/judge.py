"""What is true of the images that score, and how every answer to it is judged: alike, and in pairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import Scorer, labelled
from pipeline_lib.labels.tasks import Task
from pipeline_lib.stats.areas import auroc, mean_average_precision
from pipeline_lib.stats.intervals import Replicates, blocks_of, joined, replicates

# [training][draw] of answers, each [N] beside the judge's rows.
Answers = Sequence[Sequence[np.ndarray]]
AREAS = {"auroc": auroc, "mean_average_precision": mean_average_precision}


class Judge:
    """The truth of one label on the images that score it.

    Attributes: ``rows`` (int64) are those of the given row numbers whose label is known; ``truth_N`` their values;
    ``group_N`` (int64) numbers their groups and ``blocks_N`` the blocks in which images of one group lie together;
    ``left_out`` counts the classes that are too rare to be judged; ``problem`` is the code of what keeps the label from
    being scored at all, or None.
    """

    def __init__(self, task: Task, values: np.ndarray, keys: np.ndarray, rows: np.ndarray, seed: int) -> None:
        self.kind, self.spec = KINDS[task.kind], task.spec
        self.rows = rows[labelled(values[rows])]
        self.truth_N = values[self.rows]
        self.blocks_N = blocks_of(keys[self.rows], seed)
        names, self.group_N = np.unique(keys[self.rows].astype(str), return_inverse=True)
        self.num_groups = len(names)
        self.constant_N = self.kind.constant(self.truth_N)
        score, self.left_out = self.kind.scorer(self.constant_N, self.truth_N, self.spec)
        self.problem = self._problem(score)

    def _problem(self, score: Scorer) -> str | None:
        if not len(self.truth_N):
            return "no_target_test_labels"
        if len(set(self.truth_N)) < 2 and self.kind.classes(self.truth_N):
            return "one_class"
        return "too_few_images" if np.isnan(score(np.arange(len(self.truth_N)))) else None

    def replicates(self, answers: Answers) -> Replicates:
        """Return the label's main score of the answers of each training and draw (one draw where nothing is drawn)."""
        return joined(
            [
                [
                    replicates(self.kind.scorer(answer_N, self.truth_N, self.spec)[0], self.blocks_N)
                    for answer_N in draws
                ]
                for draws in answers
            ]
        )

    def constant(self) -> Replicates:
        """Return the score of the constant answer that is best in hindsight."""
        return self.replicates([[self.constant_N]])

    def scores(self, answers: Answers) -> dict[str, float | None]:
        """Return every score of the label's kind, the mean over trainings and draws."""
        found = [self.kind.scores(answer_N, self.truth_N, self.spec) for draws in answers for answer_N in draws]
        return {name: _mean([one[name] for one in found]) for name in found[0]}

    def areas(self, probabilities: Sequence[np.ndarray | None]) -> dict[str, float]:
        """Return the scores that go by probabilities, the mean over trainings; none where a training has none.

        ``probabilities`` are ``[N, C]`` each, of the classes (or tags) of the spec. The judged classes enter, each
        against all other images: classes that are absent, or too rare, are left out. A class that the model does not
        know has the probability 0 on every image, which is what chance reaches.
        """
        judged = self.kind.judged(self.truth_N, self.spec)
        known = [one for one in probabilities if one is not None]
        if not judged or not known or len(known) < len(probabilities):
            return {}
        has_NC = self.kind.members(self.truth_N, judged)
        place_C = pd.Index(self.spec["classes"], dtype="object").get_indexer(list(judged))
        entering = [np.where(place_C < 0, 0, one[:, place_C]) for one in known]
        return {name: float(np.mean([AREAS[name](one, has_NC) for one in entering])) for name in self.kind.areas}


def _mean(values: Sequence[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
