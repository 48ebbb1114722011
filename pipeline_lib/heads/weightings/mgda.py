"""The shortest mixture of the gradients (MGDA, Desideri 2012; for networks Sener and Koltun 2018, arXiv:1810.04650)."""

from pipeline_lib.heads.weightings.conflict import Conflict, aggregation


class MGDA(Conflict):
    """The convex combination of the gradients with the least length, which lowers all losses or is 0."""

    def __init__(self, num_labels: int) -> None:
        super().__init__(aggregation().MGDAWeighting())
