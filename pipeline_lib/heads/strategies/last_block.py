"""The encoder's last block and the heads; what lies before it stays as pretraining left it."""

from pipeline_lib.heads.strategies.strategy import Strategy

LAST_BLOCK = Strategy("last_block", rates=lambda num_blocks: [*[0.0] * (num_blocks - 1), 1.0], least_blocks=2)
