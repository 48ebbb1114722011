"""Heads alone, on the features of the encoder as it is: a linear probe."""

from pipeline_lib.heads.strategies.strategy import Strategy

FROZEN = Strategy("frozen", rates=lambda num_blocks: [0.0] * num_blocks, heads_first=True)
