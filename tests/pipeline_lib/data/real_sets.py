"""The same few pictures with labels, in the files that each reader reads."""

import gzip
import io
import json
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

NUM = 12
PICTURES = np.random.default_rng(0).integers(0, 256, (NUM, 8, 8), np.uint8)
CLASSES = [("cat", "dog", "owl")[row % 3] for row in range(NUM)]


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_folder(path: Path) -> str:
    path.mkdir()
    rows = ["file,kind"]
    for row in range(NUM):
        (path / f"{row:02d}.png").write_bytes(png(PICTURES[row]))
        rows.append(f"{row:02d}.png,{CLASSES[row]}")
    (path / "labels.csv").write_text("\n".join(rows))
    return "kind"


def write_class_folders(path: Path) -> str:
    for row in range(NUM):
        (path / CLASSES[row]).mkdir(parents=True, exist_ok=True)
        (path / CLASSES[row] / f"{row:02d}.png").write_bytes(png(PICTURES[row]))
    return "label"


def rows(first: int, last: int, classes: bool = True) -> pa.Table:
    images = [{"bytes": png(PICTURES[row]), "path": f"{row}.png"} for row in range(first, last)]
    return pa.table({"image": images, "kind": CLASSES[first:last]})


def write_parquet(path: Path) -> str:
    path.mkdir()
    for part, (first, last) in enumerate([(0, 5), (5, NUM)]):
        pq.write_table(rows(first, last), path / f"part-{part:05d}.parquet", row_group_size=2)
    return "kind"


def write_arrow(path: Path) -> str:
    path.mkdir()
    table = rows(0, NUM)
    with pa.OSFile(str(path / "data.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=5)
    return "kind"


def write_npz(path: Path) -> str:
    path.mkdir()
    np.savez_compressed(path / "data.npz", images=PICTURES, kind=np.array(CLASSES)[:, None])
    return "kind"


def write_npy(path: Path) -> str:
    path.mkdir()
    np.save(path / "x.npy", PICTURES[..., None])
    np.save(path / "kind.npy", np.array(CLASSES, "S"))
    return "kind"


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(path: Path) -> str:
    path.mkdir()
    (path / "images-idx3-ubyte").write_bytes(idx_bytes(PICTURES))
    numbers = np.array([sorted(set(CLASSES)).index(name) for name in CLASSES], np.uint8)
    (path / "labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(numbers)))
    return "label"


def tar(path: Path, files: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_shards(path: Path) -> str:
    path.mkdir()
    for part, (first, last) in enumerate([(0, 5), (5, NUM)]):
        files = {}
        for row in range(first, last):
            files[f"{row:04d}.png"] = png(PICTURES[row])
            files[f"{row:04d}.json"] = json.dumps({"kind": CLASSES[row], "more": {"x": 1}}).encode()
        tar(path / f"part-{part}.tar", files)
    return "kind"


# For each reader and form of it: what writes the set and returns the label's column, the table, and the reader's name.
SETS: Mapping[str, tuple[str, Callable[[Path], str], str | None]] = {
    "folder": ("folder", write_folder, "labels.csv"),
    "class_folders": ("class_folders", write_class_folders, None),
    "parquet": ("parquet", write_parquet, None),
    "arrow": ("parquet", write_arrow, None),
    "npz": ("arrays", write_npz, None),
    "npy": ("arrays", write_npy, None),
    "idx": ("idx", write_idx, None),
    "shards": ("shards", write_shards, None),
}
