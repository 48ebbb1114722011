"""Which images learn and which score: the splits "train" and "test"."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.seeds import derive_seed


def draw_split(
    keys_N: Sequence[str],
    test_fraction: float,
    seed: int,
    given_N: Sequence[str | None] | None = None,
    classes_N: Sequence[str] | None = None,
) -> list[str]:
    """Return "train" or "test" for each image; images of one key (a group, or equal bytes) are on one side.

    ``given_N`` is what the user says, which stands; None leaves an image to what is said of others of its key or,
    where nothing is, to the draw. Of the images drawn the share ``test_fraction`` (between 0 and 1) is test, as nearly
    as whole keys allow. With two keys or more neither side is empty, as far as that is left to the draw; a single key
    is test, because what nothing scores cannot be judged.

    ``classes_N`` makes the share about that in each class, too ("" is one of them: not labelled). A key counts for its
    most frequent class, and what is rounded off in one class is made up for in the next.

    Keys are tried in an order that depends on the seed and themselves alone, so that datasets with keys in common
    nearly agree on them.
    """
    given_N = given_N or [None] * len(keys_N)
    said: dict[str, str] = {}
    for key, side in zip(keys_N, given_N, strict=True):
        if side:
            said[key] = "test" if "test" in (side, said.get(key)) else side
    sizes = Counter(key for key in keys_N if key not in said)
    order = sorted(sizes, key=lambda key: (derive_seed(seed, "split", key), key))
    strata = _strata(order, keys_N, classes_N)
    drawn = dict.fromkeys(order, "train")
    due = 0.0  # images that the test split still lacks
    for stratum in sorted(strata):
        due += test_fraction * sum(sizes[key] for key in strata[stratum])
        for key in strata[stratum]:
            if sizes[key] < 2 * due:  # nearer with it than without it
                drawn[key] = "test"
                due -= sizes[key]
    sides = {*filter(None, given_N), *drawn.values()}
    if order and "test" not in sides:
        drawn[min(order, key=lambda key: sizes[key])] = "test"
    elif order and "train" not in sides and len(said) + len(order) > 1:
        drawn[min(reversed(order), key=lambda key: sizes[key])] = "train"
    return [side or said.get(key) or drawn[key] for key, side in zip(keys_N, given_N, strict=True)]


def refuse_torn_groups(groups_N: Sequence[str | None], given_N: Sequence[str | None]) -> None:
    """Raise UserError for a group of which some images are said to be train and others test."""
    sides: dict[str, str] = {}
    for group, side in zip(groups_N, given_N, strict=True):
        if group is not None and side and sides.setdefault(group, side) != side:
            raise UserError(
                f"the group '{group}' is in the train and in the test split: give all its rows of the label table "
                "one split, or leave the column 'split' empty for them"
            )


def _strata(order: Sequence[str], keys_N: Sequence[str], classes_N: Sequence[str] | None) -> Mapping[str, list[str]]:
    """Return the keys of ``order`` by their most frequent class."""
    if classes_N is None:
        return {"": list(order)}
    counts: dict[str, Counter[str]] = {key: Counter() for key in order}
    for key, name in zip(keys_N, classes_N, strict=True):
        if key in counts:
            counts[key][name] += 1
    strata = defaultdict(list)
    for key in order:
        strata[min(counts[key], key=lambda name: (-counts[key][name], name))].append(key)
    return strata
