from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.roles import Role, read_roles
from tests.pipeline_lib.data.pictures import plain, png, reading_of, run

KINDS = {"kind": "multiclass", "size": "regression"}


def put(
    root: Path,
    name: str,
    pictures: Sequence[int],
    split: Sequence[str | None] | None = None,
    group: Sequence[str | None] | None = None,
    labels: Mapping[str, list[Any]] | None = None,
    **settings: Any,
) -> None:
    """Ingest pictures (equal numbers are equal bytes) as the dataset ``root/name``."""
    columns = {key: value for key, value in (("split", split), ("group", group)) if value is not None}
    contents = [png(number, settings.get("channels", 1)) for number in pictures]
    run(root / name, reading_of(contents, dict(labels or {}), **columns), KINDS, **settings)


def test_the_datasets_of_a_role_are_one(tmp_path: Path) -> None:
    put(tmp_path, "a", [0, 1, 2], labels={"kind": ["x", None, "y"]}, group=["g", None, "g"])
    put(tmp_path, "b", [3, 4], labels={"kind": ["z", "x"], "size": [1.5, None]})
    put(tmp_path, "t", [5, 6, 7], labels={"size": [1, 2, 3]})
    source, target = read_roles(tmp_path, ["b", "a"], ["t"], ["kind", "size"])
    assert (source.name, len(source), source.images.shape) == ("source", 5, (5, 8, 8, 1))
    assert (target.name, len(target)) == ("target", 3)
    assert list(source.table["id"]) == ["b/0000000", "b/0000001", "a/0000000", "a/0000001", "a/0000002"]
    assert list(source.table["dataset"]) == ["b", "b", "a", "a", "a"] and list(source.cards) == ["b", "a"]
    assert source.table["key"][2] == source.table["key"][4] == "g"
    assert source.table["key"][3] == source.table["sha256"][3]
    assert source.labels == target.labels == ["kind", "size"]
    assert plain(source.label("kind")) == ["z", "x", "x", None, "y"] and source.label("kind")[3] is None
    np.testing.assert_array_equal(source.label("size"), [1.5] + [np.nan] * 4)
    np.testing.assert_array_equal(target.label("size"), [1, 2, 3])
    assert target.label("kind").tolist() == [None] * 3
    for row, number in enumerate([3, 4, 0, 1, 2]):
        again = read_roles(tmp_path, ["t"], ["b", "a"])[1].images[row]
        np.testing.assert_array_equal(source.images[row], again)
        put(tmp_path / "single", str(number), [number])
        np.testing.assert_array_equal(again, read_roles(tmp_path / "single", [str(number)], [str(number)])[0].images[0])


def test_mean_and_std_are_those_of_all_pixels(tmp_path: Path) -> None:
    put(tmp_path, "a", range(5), channels=3)
    put(tmp_path, "b", range(5, 8), channels=3, background=200, content=4)
    source, target = read_roles(tmp_path, ["a", "b"], ["b"])
    for role in (source, target):
        pixels = role.images[:] / 255
        np.testing.assert_allclose(role.mean, pixels.mean(axis=(0, 1, 2)))
        np.testing.assert_allclose(role.std, pixels.std(axis=(0, 1, 2)))


def sides(role: Role) -> list[str]:
    return list(role.table["split"])


def test_a_key_that_is_test_anywhere_is_test_everywhere(tmp_path: Path) -> None:
    put(tmp_path, "a", [0, 1, 2, 3], group=["p", "q", None, "r"], split=["train"] * 4)
    put(tmp_path, "b", [4, 5], group=["q", "p"], split=["train", "test"])
    put(tmp_path, "t", [6, 7, 2, 8], group=["p", "r", None, None], split=["train", "test", "test", "train"])
    source, target = read_roles(tmp_path, ["a", "b"], ["t"])
    assert sides(source) == ["test", "train", "test", "test", "train", "test"]
    assert sides(target) == ["test", "test", "test", "train"]
    assert (source.moved, target.moved) == (3, 1)
    assert list(source.table["near_test"]) == [True, False, True, True, False, True]
    assert not target.table["near_test"].any()
    assert list(source.rows("train")) == [1, 4] and list(target.rows("test")) == [0, 1, 2]
    # Alone, each is as it was ingested.
    assert sides(read_roles(tmp_path, ["a"], ["b"])[0]) == ["test", "train", "train", "train"]


def test_the_bytes_of_a_test_image_of_the_target_are_near_it_in_whatever_group(tmp_path: Path) -> None:
    put(tmp_path, "a", [0, 1, 2], group=["p", "p", "q"], split=["train"] * 3)
    put(tmp_path, "t", [0, 2, 9], group=["x", "y", "z"], split=["test", "train", "test"])
    source, _ = read_roles(tmp_path, ["a"], ["t"])
    assert list(source.table["near_test"]) == [True, False, False]
    assert sides(source) == ["train"] * 3 and source.moved == 0


@pytest.mark.parametrize("seed", range(20))
def test_no_key_is_on_both_sides(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for name in "abt":
        groups = [str(group) if group < 8 else None for group in rng.integers(0, 12, 15)]
        put(tmp_path, name, rng.integers(0, 25, 15).tolist(), group=groups, test_fraction=0.3, seed=seed)
    source, target = read_roles(tmp_path, ["a", "b"], ["t"])
    learnt, scored = (
        {key for role in (source, target) for key in role.table["key"].iloc[role.rows(split)]}
        for split in ("train", "test")
    )
    assert scored and not learnt & scored


def test_the_same_dataset_can_be_source_and_target(tmp_path: Path) -> None:
    put(tmp_path, "a", range(9))
    source, target = read_roles(tmp_path, ["a"], ["a"])
    assert sides(source) == sides(target) and source.moved == target.moved == 0
    assert list(source.table["near_test"]) == [side == "test" for side in sides(source)]
    with pytest.raises(UserError, match="source names the dataset 'a' more than once"):
        read_roles(tmp_path, ["a", "a"], ["a"])


def test_only_the_labels_asked_for_are_read(tmp_path: Path) -> None:
    for name in "at":
        put(tmp_path, name, [0, 1], labels={"kind": ["x", "y"], "size": [1, 2]})
    source, target = read_roles(tmp_path, ["a"], ["t"], ["size", "other"], target_labels=[])
    assert source.labels == ["size", "other"] and target.labels == []
    assert "label.kind" not in source.table and not any(name.startswith("label.") for name in target.table)
    assert source.label("other").tolist() == [None, None]
    assert read_roles(tmp_path, ["a"], ["t"], ["kind"])[1].labels == ["kind"]


@pytest.mark.parametrize("changes", [{"channels": 3}, {"size": 9}])
def test_datasets_of_other_frames_are_refused(tmp_path: Path, changes: dict[str, int]) -> None:
    put(tmp_path, "a", [0, 1])
    put(tmp_path, "b", [0, 1], **changes)
    for source, target in ((["a"], ["b"]), (["a", "b"], ["a"])):
        with pytest.raises(UserError, match=r"a/images.npy has images of 8x8x1 and .*b/images.npy of (8x8x3|9x9x1)"):
            read_roles(tmp_path, source, target)


@pytest.mark.parametrize("name", ["images.npy", "table.parquet", "card.json"])
@pytest.mark.parametrize("keep", [None, 0, 30, 200, -1], ids=["missing", "empty", "30", "200", "last byte"])
def test_a_damaged_file_is_named_in_one_sentence(tmp_path: Path, name: str, keep: int | None) -> None:
    put(tmp_path, "a", [0, 1, 2, 3], labels={"kind": list("abab")})
    file = tmp_path / "a" / name
    content = file.read_bytes()
    file.unlink()
    if keep is not None:
        # The last byte of the card is a line break, without which it is whole.
        file.write_bytes(content[: keep - (name == "card.json")] if keep < 0 else content[:keep])
    with pytest.raises(UserError, match=rf"a/{name} .*: run the ingest again") as caught:
        read_roles(tmp_path, ["a"], ["a"], ["kind"])
    assert "\n" not in str(caught.value)


def test_a_table_of_other_images_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a", [0, 1, 2])
    put(tmp_path, "b", [0, 1])
    (tmp_path / "b/images.npy").replace(tmp_path / "a/images.npy")
    with pytest.raises(UserError, match=r"a/table.parquet has 3 rows for 2 images: run the ingest again"):
        read_roles(tmp_path, ["a"], ["a"])
