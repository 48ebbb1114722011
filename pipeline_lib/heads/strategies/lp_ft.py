"""Heads first, and then everything (LP-FT, Kumar 2022, https://arxiv.org/abs/2202.10054).

Random heads would send the first gradients in random directions through the encoder, away from what it has learnt. The
encoder stays in evaluation, as in the authors' code: the heads were fitted to what it gives there, and with the
statistics of batches it would give them something else from the first step on.
"""

from pipeline_lib.heads.strategies.strategy import Strategy

LP_FT = Strategy("lp_ft", rates=lambda num_blocks: [1.0] * num_blocks, heads_first=True)
