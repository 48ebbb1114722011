"""Everything at once, from the pretrained encoder."""

from pipeline_lib.heads.strategies.strategy import Strategy

ALL = Strategy("all", rates=lambda num_blocks: [1.0] * num_blocks)
