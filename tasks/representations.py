"""Encoders that params.yaml names by a file of weights, for stages that describe images by them."""

from pathlib import Path

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import say
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.roles import Role
from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.encoders.representation import Representation
from pipeline_lib.encoders.weights import load_pretrained, read_classifier, stem_of
from tasks.blocks.rank import Rank


def named(target: Role, name: str, block: Rank, seed: int) -> Representation:
    """Return one of ``rank.encoders``; raise UserError where its weights are missing or do not fit."""
    one = block.encoders[name]
    one.refuse_missing(name, block.path)
    try:
        return represent(target, one.encoder, one.size, str(Path(block.path, one.weights)), seed, partial=False)
    except UserError as error:
        raise UserError(f"encoders.{name}: {error}") from None


def represent(
    target: Role, encoder: str, size: int | None, weights: str | None, seed: int, *, partial: bool
) -> Representation:
    """Return an encoder with these weights, random ones for None.

    It has the target's own mean and spread where the weights do not say theirs.
    """
    recipe = {
        "encoder": encoder,
        "channels": target.images.shape[3],
        "size": size or target.images.shape[1],
        "mean": target.mean,
        "std": target.std,
        "stem": stem_of(weights),
    }
    built = from_config(recipe, derive_seed(seed, "rank"))
    if weights is None:
        return Representation(built)
    say(load_pretrained(built, weights, partial=partial))
    return Representation(built, read_classifier(built, weights))
