"""Everything, from random weights: the baseline that pretraining has to beat."""

from pipeline_lib.heads.strategies.strategy import Strategy

SCRATCH = Strategy("scratch", rates=lambda num_blocks: [1.0] * num_blocks, pretrained=False)
