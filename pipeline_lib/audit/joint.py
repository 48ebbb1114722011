"""Labels that go together: with each other, differently in the two domains, and with the dataset of an image."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.roles import Role
from pipeline_lib.labels.kind import labelled

PERMUTATIONS = 200
# Classes beyond the most frequent count as one, and labels and images beyond these are not looked at.
MOST_CLASSES = 100
MOST_LABELS = 10
MOST_IMAGES = 20_000
LEAST_IMAGES = 50
# A class is missing in a dataset if, were it as frequent there as everywhere, so many images of it would be there:
# none by chance is rarer than once in 1,000.
LEAST_EXPECTED = 7.0


def association(table_AB: np.ndarray) -> float:
    """Return Cramér's V of counts of two labels without its bias (Bergsma 2013): 0 unrelated, 1 one tells the other.

    NaN where a label has one class only.
    """
    table = table_AB[table_AB.sum(axis=1) > 0][:, table_AB.sum(axis=0) > 0].astype(np.float64)
    total = table.sum()
    if min(table.shape) < 2 or total < 2:
        return float("nan")
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    rows, columns = table.shape
    phi2 = ((table - expected) ** 2 / expected).sum() / total - (rows - 1) * (columns - 1) / (total - 1)
    sizes = (size - (size - 1) ** 2 / (total - 1) for size in (rows, columns))
    return float(np.sqrt(max(phi2, 0.0) / (min(sizes) - 1)))


def pairs(source: Role, target: Role, names: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Return how strongly each two labels of classes go together in source and in target, and whether that differs.

    ``p_value`` is the share of divisions of all images at random in which they differ at least as much. What cannot be
    known is None.
    """
    found = []
    for first, second in combinations(names[:MOST_LABELS], 2):
        tables, codes, domains = _joint((source, target), first, second, seed)
        values = [association(table) if table.sum() >= LEAST_IMAGES else float("nan") for table in tables]
        pair = {"labels": [first, second], "source": _known(values[0]), "target": _known(values[1]), "p_value": None}
        if not np.isnan(values).any():
            rng = np.random.default_rng(derive_seed(seed, "joint", first, second))
            apart = [_apart(codes, rng.permutation(domains), tables[0].shape) for _ in range(PERMUTATIONS)]
            at_least = sum(one >= abs(values[0] - values[1]) - 1e-12 for one in apart)
            pair["p_value"] = (1 + at_least) / (1 + PERMUTATIONS)
        found.append(pair)
    return found


def by_dataset(role: Role, name: str) -> dict[str, Any] | None:
    """Return how strongly a label goes with the dataset of an image, and the classes that only one dataset has.

    None where fewer than two datasets have the label. Only classes are listed that chance does not explain.
    """
    values = role.label(name)
    known = labelled(values)
    classes, codes = np.unique(values[known].astype(str), return_inverse=True)
    datasets, of = np.unique(role.table["dataset"].to_numpy(dtype=str)[known], return_inverse=True)
    if len(datasets) < 2:
        return None
    table = np.bincount(codes * len(datasets) + of, minlength=len(classes) * len(datasets))
    table = table.reshape(len(classes), len(datasets))
    most = table.argmax(axis=1)
    counts = table.sum(axis=1)
    elsewhere = 1 - table.sum(axis=0)[most] / table.sum()
    alone = np.flatnonzero(((table > 0).sum(axis=1) == 1) & (counts * elsewhere >= LEAST_EXPECTED))
    return {
        "association": _known(association(table)),
        "only_in": [
            {"class": str(classes[row]), "dataset": str(datasets[most[row]]), "count": int(counts[row])}
            for row in alone[np.argsort(-counts[alone], kind="stable")]
        ],
    }


def _joint(
    roles: Sequence[Role], first: str, second: str, seed: int
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return the table of both labels in each role, and the cell and the role of each image that has both."""
    values: list[Mapping[str, np.ndarray]] = []
    for role in roles:
        both = {name: role.label(name) for name in (first, second)}
        rows = np.flatnonzero(labelled(both[first]) & labelled(both[second]))
        if len(rows) > MOST_IMAGES:
            rng = np.random.default_rng(derive_seed(seed, "joint", role.name))
            rows = rng.choice(rows, MOST_IMAGES, replace=False)
        values.append({name: column[rows].astype(str) for name, column in both.items()})
    domains = np.repeat([0, 1], [len(one[first]) for one in values])
    codes = [_codes(np.concatenate([one[name] for one in values])) for name in (first, second)]
    shape = tuple(int(code.max(initial=-1)) + 1 for code in codes)
    cells = codes[0] * shape[1] + codes[1]
    return [_table(cells[domains == domain], shape) for domain in (0, 1)], cells, domains


def _codes(values: np.ndarray) -> np.ndarray:
    """Return numbers of classes; all but the most frequent share one."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    number = np.empty(len(counts), dtype=np.int64)
    number[np.argsort(-counts, kind="stable")] = np.arange(len(counts)).clip(max=MOST_CLASSES - 1)
    return number[codes]


def _table(cells: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape)


def _apart(cells: np.ndarray, domains: np.ndarray, shape: tuple[int, ...]) -> float:
    one, other = (association(_table(cells[domains == domain], shape)) for domain in (0, 1))
    return abs(one - other) if not np.isnan([one, other]).any() else 0.0


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
