"""The encoders of the block ``compare``, built for the images of a role."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import say
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.roles import Role
from pipeline_lib.encoders.encoder import Encoder, from_config
from pipeline_lib.encoders.weights import load_pretrained, stem_of
from tasks.blocks.compare import Compare
from tasks.settings import written_in


def build(
    stage: str, role: Role, encoder: str, size: int | None, weights: str | None, seed: int, *, partial: bool = False
) -> Encoder:
    """Return an encoder with weights, or random ones that ``seed`` gives, and let ``stage`` say what was loaded.

    Where the weights do not say theirs, it takes the mean and spread of the role's images.
    """
    recipe = {
        "encoder": encoder,
        "channels": role.images.shape[3],
        "size": size or role.images.shape[1],
        "mean": role.mean,
        "std": role.std,
        "stem": stem_of(weights),
    }
    built = from_config(recipe, derive_seed(seed, "rank"))
    if weights is not None:
        say(f"{stage}: {load_pretrained(built, weights, partial=partial)}")
    return built


def build_named(stage: str, role: Role, name: str, block: Compare, seed: int) -> tuple[Encoder, str]:
    """Return the encoder of this name with its weights, and where those are.

    Raises UserError, with the name, for weights that are not there or do not fit.
    """
    one = block.encoders[name]
    weights = str(Path(block.path, one.weights))
    with written_in("compare"):
        one.refuse_missing(name, block.path)
    with written_of(name):
        return build(stage, role, one.encoder, one.size, weights, seed), weights


@contextmanager
def written_of(name: str) -> Iterator[None]:
    """Say of which encoder in params.yaml it is that the library refuses something."""
    with written_in("compare"):
        try:
            yield
        except UserError as error:
            raise UserError(f"encoders.{name}: {error}") from None
