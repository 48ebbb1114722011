"""How fast what is trained may change, from random weights and from given ones."""

from typing import Protocol

# What ``pretrain.weights`` is where none are given.
RANDOM = "random"
# What given weights have learnt, at the usual rate they lose: the share of it that they take (docs/heads.md).
GIVEN = 0.1


class Rated(Protocol):
    """A block with a learning rate that may be left to what is trained."""

    @property
    def lr(self) -> float | None:
        """The peak learning rate for a batch of 256, or None for the usual one."""

    @property
    def usual(self) -> float:
        """The peak learning rate of what starts from random weights."""


def peak_rate(block: Rated, given: bool) -> float:
    """Return the peak learning rate for a batch of 256; ``given`` says whether it starts from given weights.

    These take a share of the usual one, unless it is set.
    """
    return block.lr or block.usual * (GIVEN if given else 1.0)
