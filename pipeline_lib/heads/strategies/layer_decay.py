"""Everything, each block more slowly than the one behind it (Clark 2020, https://arxiv.org/abs/2003.10555)."""

from collections.abc import Sequence

from pipeline_lib.heads.strategies.strategy import Strategy

# From a block to the one before it, as in the fine-tuning of masked autoencoders (https://arxiv.org/abs/2111.06377).
DECAY = 0.75


def _rates(num_blocks: int) -> Sequence[float]:
    return [DECAY ** (num_blocks - block) for block in range(num_blocks)]


LAYER_DECAY = Strategy("layer_decay", rates=_rates, least_blocks=2)
