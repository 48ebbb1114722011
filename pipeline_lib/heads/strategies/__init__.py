"""Ways to train on labels, by name. A new one is a file with a Strategy, and a line here."""

from collections.abc import Mapping

from pipeline_lib.heads.strategies.all import ALL
from pipeline_lib.heads.strategies.frozen import FROZEN
from pipeline_lib.heads.strategies.l2_sp import L2_SP
from pipeline_lib.heads.strategies.last_block import LAST_BLOCK
from pipeline_lib.heads.strategies.layer_decay import LAYER_DECAY
from pipeline_lib.heads.strategies.low_rank import LOW_RANK
from pipeline_lib.heads.strategies.lp_ft import LP_FT
from pipeline_lib.heads.strategies.scratch import SCRATCH
from pipeline_lib.heads.strategies.strategy import Strategy

STRATEGIES: Mapping[str, Strategy] = {
    "frozen": FROZEN,
    "last_block": LAST_BLOCK,
    "all": ALL,
    "lp_ft": LP_FT,
    "layer_decay": LAYER_DECAY,
    "l2_sp": L2_SP,
    "low_rank": LOW_RANK,
    "scratch": SCRATCH,
}

__all__ = ["STRATEGIES", "Strategy"]
