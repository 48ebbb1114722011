import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline_lib.core.files import (
    atomic,
    partial_path,
    publish,
    read_json,
    remove,
    write_csv,
    write_json,
    write_npy,
    write_parquet,
)


def test_json_is_sorted_plain_and_strict(tmp_path: Path) -> None:
    file = tmp_path / "made" / "a.json"
    value = {"b": np.float32(0.5), "a": [np.int64(3), float("nan"), np.inf, None], "é": np.array([1, 2]), 1: True}
    write_json(file, value)
    assert read_json(file) == {"1": True, "a": [3, None, None, None], "b": 0.5, "é": [1, 2]}
    assert list(json.loads(file.read_text())) == ["1", "a", "b", "é"]
    assert "NaN" not in file.read_text()


def test_equal_values_give_equal_bytes_in_any_order(tmp_path: Path) -> None:
    write_json(tmp_path / "1", {"a": 1, "b": 2})
    write_json(tmp_path / "2", {"b": 2, "a": 1})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_parquet_bytes_do_not_depend_on_where_the_table_came_from(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["a", "b"], "value": [1.5, None]})
    write_parquet(tmp_path / "1", table)
    sliced = pd.DataFrame({"id": ["x", "a", "b"], "value": [0.0, 1.5, None]}).iloc[1:]
    write_parquet(tmp_path / "2", sliced)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert pq.read_schema(tmp_path / "1").metadata is None
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "1"), table)


def test_npy_is_c_ordered_and_never_pickled(tmp_path: Path) -> None:
    array = np.arange(6).reshape(2, 3)
    write_npy(tmp_path / "a.npy", array.T)
    loaded = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert loaded.flags.c_contiguous and (loaded == array.T).all()
    with pytest.raises(ValueError, match="allow_pickle"):
        write_npy(tmp_path / "b.npy", np.array([{}], dtype=object))


def test_csv_has_no_index_and_unix_lines(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", pd.DataFrame({"epoch": [1], "loss": [1 / 3]}))
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,loss\n1,0.333333\n"


def test_an_output_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("good")
    with pytest.raises(RuntimeError), atomic(file) as partial:
        partial.write_text("half")
        assert file.read_text() == "good"
        raise RuntimeError
    assert file.read_text() == "good" and not partial_path(file).exists()
    with atomic(file) as partial:
        partial.write_text("new")
    assert file.read_text() == "new" and list(tmp_path.iterdir()) == [file]


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    final, partial = tmp_path / "d", tmp_path / ".d.partial"
    for folder, name in ((final, "old"), (partial, "new")):
        folder.mkdir()
        (folder / name).write_text(name)
    publish(partial, final)
    assert [file.name for file in final.iterdir()] == ["new"]


def test_removing_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    kept, link = tmp_path / "kept", tmp_path / "link"
    kept.mkdir()
    link.symlink_to(kept)
    remove(link)
    remove(tmp_path / "nothing")
    assert kept.is_dir() and not link.is_symlink()
