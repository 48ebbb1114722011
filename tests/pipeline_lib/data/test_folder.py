import codecs
import os
import socket
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.images import BrokenImageError, decode
from pipeline_lib.data.readers.folder import folder
from pipeline_lib.data.samples import Reading, printable


def put(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), value).save(path, "PNG")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for name in ("b.png", "a.PNG", "sub/c.jpeg"):
        put(root / name)
    return root


def read(root: Path, table: str | pd.DataFrame | None = None, *labels: str, name: str = "labels.csv") -> Reading:
    if table is not None:
        if isinstance(table, str):
            (root / name).write_text(table, encoding="utf-8")
        else:
            table.to_parquet(root / name)
    return folder(root, name if table is not None else None, labels)


def test_images_are_found_below_in_the_order_of_names(images: Path) -> None:
    for name in (".hidden.png", ".cache/d.png", "notes.txt"):
        put(images / name)
    (images / "folder.png").mkdir()
    reading = read(images, None, "kind")
    assert [sample.path for sample in reading.samples] == ["a.PNG", "b.png", "sub/c.jpeg"]
    assert reading.labels == ()
    assert reading.samples[0].load() == (images / "a.PNG").read_bytes()


@pytest.mark.parametrize("make", [False, True], ids=["missing", "empty"])
def test_a_folder_without_images_is_refused(tmp_path: Path, make: bool) -> None:
    if make:
        (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match=r"/x (is not a folder|holds no image)"):
        read(tmp_path / "x")


@pytest.mark.parametrize("path", ["", ".", "./"])
def test_the_project_itself_is_no_folder_of_images(path: str) -> None:
    with pytest.raises(UserError, match="path is empty, or the project itself"):
        read(Path(path))


def test_what_is_not_read_is_counted_and_said(images: Path) -> None:
    for name in ("d.HEIC", "sub/e.heic", "f.raw", "README", "labels.csv", ".hidden.heic", ".git/g.heic", "sub/.h"):
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).touch()
    (images / "more").symlink_to(images / "sub")
    (images / "more.png").symlink_to(images / "sub")
    reading = read(images, "file,kind\n", "kind")
    assert [sample.path for sample in reading.samples] == ["a.PNG", "b.png", "sub/c.jpeg"]
    assert reading.passed_over == {".heic": 2, ".raw": 1, "linked folder": 2, "no suffix": 1}
    assert reading.notes == (
        f"{images} also holds 2 x .heic, 2 x linked folder, 1 x .raw, 1 x no suffix, which are passed over",
        "what is behind linked folders (more, ...) is neither read nor watched: move it here, or make it a dataset of "
        "its own",
    )
    for file in ("a.PNG", "b.png", "sub/c.jpeg"):
        (images / file).unlink()
    with pytest.raises(UserError, match=r"holds no image, but 2 x .heic, 2 x linked folder, 1 x \.csv, .*: put files"):
        read(images)


@pytest.mark.parametrize(
    ("suffix", "form"),
    [("avif", "AVIF"), ("jfif", "JPEG"), ("JPE", "JPEG"), ("jp2", "JPEG2000"), ("pgm", "PPM"), ("webp", "WEBP")],
)
def test_what_pillow_decodes_is_read_whatever_it_is_called(tmp_path: Path, suffix: str, form: str) -> None:
    picture = Image.new("RGB", (16, 8), "red")
    picture.save(tmp_path / f"a.{suffix}", form)
    picture.save(tmp_path / "no suffix", form)
    (tmp_path / "BMP and other formats, a text").write_text("BM is not an image, nor is P1 one")
    found = {sample.path: decode(sample.load()).size for sample in read(tmp_path).samples}
    assert found.pop(f"a.{suffix}") == (16, 8)
    assert found == ({} if form == "PPM" else {"no suffix": (16, 8)})


def test_what_has_no_suffix_is_not_opened_where_that_would_wait_or_lead_out(images: Path) -> None:
    put(images.parent / "private.png")
    (images / "out").symlink_to(images.parent / "private.png")
    (images / "within").symlink_to(images / "b.png")
    os.mkfifo(images / "pipe")
    reading = read(images)
    assert {sample.path for sample in reading.samples} == {"a.PNG", "b.png", "sub/c.jpeg", "within"}
    assert reading.passed_over == {"no suffix": 2}


def test_a_file_larger_than_a_picture_is_broken(images: Path) -> None:
    with (images / "large.png").open("wb") as file:
        file.truncate(2**30 + 1)  # a hole, which takes no space
    sample = next(sample for sample in read(images).samples if sample.path == "large.png")
    with pytest.raises(BrokenImageError, match="more than"):
        sample.load()


def test_images_in_folders_without_a_table_are_said_to_have_no_label(images: Path) -> None:
    assert not read(images).notes
    put(images / "other/d.png")
    assert "lie in 2 folders and have no label" in read(images).notes[0]
    assert not read(images, "file,kind\n", "kind").notes


def test_many_suffixes_are_not_all_named(images: Path) -> None:
    for number in range(30):
        (images / f"x.{number:02d}").touch()
    reading = read(images)
    assert len(reading.passed_over) == 30 and reading.notes[0].count(" x .") == 6


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    with pytest.raises(UserError, match="is not a folder"):
        read(tmp_path / "a.png")


def test_csv_cells_are_the_text_they_are_and_empty_ones_are_not_labelled(images: Path) -> None:
    reading = read(images, "\ufefffile,kind,size\na.PNG,007,1.50\nb.png,NA,\n", "kind", "size")
    labels = {sample.path: sample.labels for sample in reading.samples}
    assert labels == {
        "a.PNG": {"kind": "007", "size": "1.50"},
        "b.png": {"kind": "NA", "size": None},
        "sub/c.jpeg": {"kind": None, "size": None},
    }


def test_parquet_nulls_are_none_and_split_and_group_are_read(images: Path) -> None:
    table = pd.DataFrame(
        {
            "file": ["b.png", "./sub/c.jpeg"],
            "kind": [1.0, np.nan],
            "name": ["", "x"],
            "split": ["test", ""],
            "group": [0, 7],
        }
    )
    reading = read(images, table, "kind", "name", name="labels.parquet")
    found = {s.path: (*s.labels.values(), s.split, s.group) for s in reading.samples}
    assert found == {
        "a.PNG": (None, None, None, None),
        "b.png": (1.0, None, "test", 0),
        "sub/c.jpeg": (None, "x", None, 7),
    }


def test_blanks_around_splits_and_groups_are_left_out(images: Path) -> None:
    reading = read(images, "file,kind,split,group\na.PNG, ,test ,  \nb.png,x , ,p\nsub/c.jpeg,x,train,p\n", "kind")
    assert [(s.labels["kind"], s.split, s.group) for s in reading.samples] == [
        (None, "test", None), ("x ", None, "p"), ("x", "train", "p"),
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_of_other_programs_is_read(images: Path, encoding: str, delimiter: str) -> None:
    rows = [["file", "kind", "tags, and more"], ["a.PNG", "é", "x"], ["b.png", '"a;b,c"', ""], ["sub/c.jpeg"]]
    rows = [[f'"{cell}"' if "," in cell and '"' not in cell else cell for cell in row] for row in rows]
    text = "\r\n".join(delimiter.join(row) for row in rows)
    mark = codecs.BOM_UTF16_LE if encoding == "utf-16-le" else b""
    (images / "labels.csv").write_bytes(mark + text.encode(encoding))
    reading = folder(images, "labels.csv", ("kind", "tags, and more"))
    assert [tuple(sample.labels.values()) for sample in reading.samples] == [("é", "x"), ("a;b,c", None), (None, None)]


def test_numbered_rows_are_no_label(images: Path) -> None:
    pd.DataFrame({"file": ["a.PNG"], "kind": ["x"]}).to_csv(images / "labels.csv")
    reading = folder(images, "labels.csv", ("kind",))
    assert reading.samples[0].labels == {"kind": "x"} and reading.others == ("column 1",)


def test_json_lines_are_a_table(images: Path) -> None:
    lines = ['{"file": "a.PNG", "kind": "007", "tags": ["x", "y"]}', "", '{"file": "b.png", "kind": null, "size": 2}']
    (images / "labels.jsonl").write_text("\n".join(lines))
    reading = folder(images, "labels.jsonl", ("kind", "tags", "size"))
    assert [list(sample.labels.values()) for sample in reading.samples] == [
        ["007", ["x", "y"], None], [None, None, 2], [None, None, None],
    ]  # fmt: skip
    (images / "labels.jsonl").write_text(lines[0] + '\n["a.PNG"]\n')
    with pytest.raises(UserError, match="line 2 is no JSON object"):
        folder(images, "labels.jsonl", ("kind",))


def test_an_excel_sheet_is_a_table_where_it_can_be_read(images: Path) -> None:
    pytest.importorskip("openpyxl")
    table = pd.DataFrame({"file": ["a.PNG", "b.png"], "kind": ["007", "NA"], "size": [1.5, None]})
    table.to_excel(images / "labels.xlsx", index=False)
    reading = folder(images, "labels.xlsx", ("kind", "size"))
    assert [list(sample.labels.values()) for sample in reading.samples] == [["007", 1.5], ["NA", None], [None, None]]
    (images / "labels.xlsx").write_bytes(b"PK no workbook")
    with pytest.raises(UserError, match="cannot be read"):
        folder(images, "labels.xlsx", ("kind",))


def test_an_excel_sheet_that_cannot_be_read_is_one_sentence(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    (images / "labels.xlsx").touch()
    with pytest.raises(UserError, match="needs the package openpyxl"):
        folder(images, "labels.xlsx", ("kind",))


def test_a_column_that_a_table_lacks_is_not_labelled(images: Path) -> None:
    reading = read(images, "file,knd,size,split\na.PNG,1,2,test\n", "kind", "size")
    assert reading.labels == ("size",) and reading.others == ("knd",)
    assert [dict(sample.labels) for sample in reading.samples] == [{"size": "2"}, {"size": None}, {"size": None}]
    assert reading.samples[0].split == "test"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("fil,kind\na.PNG,1\n", "no column 'file'; did you mean 'fil'"),
        ("file,kind\na.PNG,1\n./a.PNG,2\n", "'a.PNG' twice"),
        ("file,kind\nz.png,1\ny.png,1\n", "'y.png' and 1 more, which are not images"),
        ("file,kind\n,1\n", "a row without a file"),
        ("file,kind\n../secret.png,1\n", "'../secret.png', which is not an image"),
        ("file,kind\n{root}/a.PNG,1\n", "which is not an image"),
        ("file,kind,split\na.PNG,1,valid\n", "split 'valid'"),
        ("", "cannot be read"),
        ("file,kind\na.PNG,1,2\nb.png,1,2\n", "cannot be read .*line 2"),
        ("file,kind\na.PNG,1\nb.png,1,2\n", "cannot be read .*line 3"),
        ("file,kind,kind\na.PNG,1,2\n", "the column 'kind' twice"),
        ('file,kind\n"a.PNG,1\n', "cannot be read"),
    ],
)
def test_a_faulty_table_is_refused_in_one_line(images: Path, table: str, message: str) -> None:
    put(images.parent / "secret.png")
    with pytest.raises(UserError, match=message) as caught:
        read(images, table.replace("{root}", str(images)), "kind")
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_what_its_name_says_is_refused(images: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read(images, "file,kind\n", "kind", name="labels.parquet")
    (images / "latin.csv").write_bytes("file,kind\na.PNG,\xe9\n".encode("latin-1"))
    with pytest.raises(UserError, match="neither UTF-8 nor UTF-16"):
        folder(images, "latin.csv", ("kind",))


@pytest.mark.parametrize("name", ["missing.csv", "../outside.csv", "{root}/../outside.csv", "link.csv", "labels.ods"])
def test_a_table_that_is_missing_outside_or_of_another_kind_is_refused(images: Path, name: str) -> None:
    outside = images.parent / "outside.csv"
    outside.write_text("file,kind\na.PNG,1\n")
    (images / "link.csv").symlink_to(outside)
    with pytest.raises(UserError, match=r"is missing|lies outside|must end in"):
        folder(images, name.replace("{root}", str(images)), ("kind",))


def test_links_are_followed_within_the_folder_only(images: Path) -> None:
    put(images.parent / "private.png")
    (images / "within.png").symlink_to(images / "b.png")
    (images / "out.png").symlink_to(images.parent / "private.png")
    (images / "dangling.png").symlink_to(images / "nothing")
    (images / "outer").symlink_to(images.parent)
    samples = {sample.path: sample for sample in read(images).samples}
    assert samples.keys() == {"a.PNG", "b.png", "sub/c.jpeg", "within.png", "out.png", "dangling.png"}
    assert samples["within.png"].load() == (images / "b.png").read_bytes()
    with pytest.raises(BrokenImageError, match="a link out of the folder"):
        samples["out.png"].load()
    with pytest.raises(BrokenImageError, match="cannot be read"):
        samples["dangling.png"].load()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_broken_and_not_opened(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(images / "pipe.png")
    monkeypatch.chdir(images)  # a socket's path may not be long
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
    (images / "round.png").symlink_to("round.png")
    (images / "circle.png").symlink_to("circle2.png")
    (images / "circle2.png").symlink_to("circle.png")
    (images / "device.png").symlink_to("/dev/zero")
    samples = {sample.path: sample for sample in read(images).samples}
    reasons = {}
    for name in samples.keys() - {"a.PNG", "b.png", "sub/c.jpeg"}:
        with pytest.raises(BrokenImageError) as caught:
            samples[name].load()
        reasons[name] = str(caught.value)
    assert reasons.pop("device.png") == "a link out of the folder"
    assert reasons.pop("pipe.png") == reasons.pop("socket.png") == "not a regular file"
    assert set(reasons) == {"round.png", "circle.png", "circle2.png"}
    assert all("cannot be read" in reason for reason in reasons.values())


def test_the_folder_itself_may_be_a_link(images: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(images)
    assert all(sample.load() for sample in read(tmp_path / "link").samples)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such file names")
def test_names_of_any_bytes_are_read_and_can_be_labelled(tmp_path: Path) -> None:
    names = [
        b"<script>.png",
        b"line\nbreak.png",
        b"\xff\xfe.png",
        b"\xe5\x9b\xbe.png",
        b"back\\slash.png",
        b"\x1b[2J.png",
    ]
    for index, name in enumerate(names):
        put(tmp_path / "raw.png", index)
        (tmp_path / "raw.png").rename(tmp_path / os.fsdecode(name))
    reading = read(tmp_path, 'file,kind\n"line\nbreak.png",x\n<script>.png,y\n', "kind")
    labels = {sample.path: sample.labels["kind"] for sample in reading.samples}
    assert labels == {
        "<script>.png": "y", r"line\nbreak.png": "x", r"\udcff\udcfe.png": None, "图.png": None,
        r"back\\slash.png": None, r"\x1b[2J.png": None,
    }  # fmt: skip
    assert all(sample.load() for sample in reading.samples)
    assert all(sample.path.isprintable() and sample.path.encode() for sample in reading.samples)


def test_different_names_stay_different() -> None:
    names = ["a\nb", r"a\nb", "a\\\nb", "a\x0ab\x00", "\udcff", r"\udcff", "é"]
    assert len({printable(name) for name in dict.fromkeys(names)}) == len(set(names))
    assert printable("é b") == "é b"
