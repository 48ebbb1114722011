"""What probes of one label reached."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline_lib.evaluate.judge import Judge
from pipeline_lib.evaluate.probes import Draws
from pipeline_lib.labels.tasks import Task
from pipeline_lib.stats.intervals import Replicates

CONSTANT = "constant"


@dataclass(frozen=True)
class Probed:
    """What probes of one label reached on the target: ``scores`` are by representation and labels a class."""

    task: Task
    judge: Judge
    draws: Mapping[int, Draws]
    scores: Mapping[tuple[str, int], Replicates]

    @property
    def problem(self) -> str | None:
        """The code of why nothing was probed, or None."""
        return self.judge.problem or (None if self.draws else "no_target_train_labels")

    @property
    def amounts(self) -> dict[int, int]:
        """The numbers of labels in all, each with the labels a class that come to it, from few to many."""
        found: dict[int, int] = {}
        for amount, drawn in sorted(self.draws.items()):
            found.setdefault(len(drawn.rows[0]), amount)
        return found

    def scores_of(self, name: str) -> list[Replicates]:
        """Return the scores of a representation, or of the constant answer, for each of the amounts."""
        if name == CONSTANT:
            return [self.judge.constant()] * len(self.amounts)
        return [self.scores[name, amount] for amount in self.amounts.values()]
