"""Gradients that go against each other have that part taken off (PCGrad, Yu 2020, arXiv:2001.06782)."""

from pipeline_lib.heads.weightings.conflict import Conflict, aggregation


class PCGrad(Conflict):
    """Each gradient is projected off those that it goes against, in a random order."""

    def __init__(self, num_labels: int) -> None:
        super().__init__(aggregation().PCGradWeighting(), sums=True)
