"""What images are compared by: their pixels, or an encoder of the block ``compare``."""

from collections.abc import Sequence

import numpy as np

from pipeline_lib.core.compute import resolve_device
from pipeline_lib.data.roles import Role
from pipeline_lib.data.rows import Images
from pipeline_lib.encoders.representation import Representation
from pipeline_lib.encoders.weights import read_classifier
from tasks.blocks.compare import PIXELS, Compare, Compared
from tasks.candidates import build_named, written_of


def represented(stage: str, role: Role, features: str, block: Compare, seed: int) -> Representation:
    """Return the representation that ``features`` names, an encoder with the classifier that its weights have.

    Raises UserError, as :func:`~tasks.candidates.build_named`.
    """
    if features == PIXELS:
        return Representation()
    encoder, weights = build_named(stage, role, features, block, seed)
    return Representation(encoder, read_classifier(encoder, weights))


def components(
    stage: str, params: Compared, role: Role, features: str, sets: Sequence[tuple[Images, np.ndarray]]
) -> list[np.ndarray]:
    """Return the leading components of what ``features`` names of images and rows of them, float32 ``[N, K]`` each.

    See :meth:`~pipeline_lib.encoders.representation.Representation.components`. Raises UserError, with the encoder's
    name, for weights that are not there or do not fit, or that give no finite features.
    """
    by = represented(stage, role, features, params.compare, params.seed)
    device = resolve_device(params.device)
    with written_of(features):
        return by.components(sets, params.seed, device, f"features by {features}")
