"""Everything, with a pull to the pretrained weights (L2-SP, Li 2018, https://arxiv.org/abs/1802.01483)."""

from pipeline_lib.heads.strategies.strategy import Strategy

# One of the prices that its authors try.
PULL = 0.01

L2_SP = Strategy("l2_sp", rates=lambda num_blocks: [1.0] * num_blocks, pull=PULL)
