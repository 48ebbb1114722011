"""Seeds: every random choice follows from the run's seed and the name of what is chosen."""

import hashlib


def derive_seed(seed: int, *names: str | int) -> int:
    """Return a seed in [0, 2^31) that depends on ``seed`` and on every name, and on nothing else."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
