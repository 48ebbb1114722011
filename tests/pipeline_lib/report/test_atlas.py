import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline_lib.report.atlas import GRID, MOST_COLOURS, atlas, colours, ramp
from pipeline_lib.report.pictures import SHEET_PIXELS, data_uri, tile_side
from tests.pipeline_lib.report.inputs import make_inputs


def make_atlas(layouts=None, limit=100, seed=0, predicted=None, classes=("cat", "dog")):
    inputs = make_inputs()
    table = inputs["target"].table
    return atlas(
        inputs["projections"] if layouts is None else layouts,
        inputs["target"].images,
        table["id"].tolist(),
        table["path"].tolist(),
        table["label.kind"].tolist(),
        predicted or {},
        classes=classes,
        limit=limit,
        seed=seed,
    )


def positions(layout):
    return np.array([layout["x"], layout["y"]]).T


def test_distances_survive_and_fill_the_grid():
    layouts = make_inputs()["projections"]
    for found in make_atlas()["layouts"]:
        chosen = (layouts["representation"] == found["representation"]) & (layouts["method"] == found["method"])
        before = layouts[chosen][["x", "y"]].to_numpy(dtype=float)
        after = positions(found)
        assert after.min() == 0
        assert after.max() == GRID
        spread = [np.linalg.norm(xy[:, None] - xy[None], axis=-1) for xy in (before, after)]
        ratio = spread[1][spread[0] > 0] / spread[0][spread[0] > 0]
        assert np.ptp(ratio) / ratio.mean() < 0.02


def test_a_turned_and_mirrored_layout_is_turned_back():
    base = make_inputs()["projections"].query("representation == 'adapted' and method == 'umap'")
    angle = 2.0
    turned = base.assign(
        representation="pixels",
        x=-(np.cos(angle) * base["x"] - np.sin(angle) * base["y"]) * 3 + 7,
        y=(np.sin(angle) * base["x"] + np.cos(angle) * base["y"]) * 3,
    )
    first, last = make_atlas(pd.concat([turned, base]))["layouts"]
    assert np.abs(positions(first) - positions(last)).max() <= 0.002 * GRID


def test_at_most_so_many_images_and_always_the_same_for_a_seed():
    some = make_atlas(limit=5)
    assert len(some["ids"]) == 5 == len(some["layouts"][0]["x"])
    assert some["total"] == 12
    assert make_atlas(limit=5) == some
    assert any(make_atlas(limit=5, seed=seed)["ids"] != some["ids"] for seed in range(1, 5))


def test_each_thumbnail_is_the_picture_of_its_id():
    inputs, found = make_inputs(), make_atlas(limit=5)
    sheet = np.asarray(decode(found["sheet"]).convert("L")).astype(int)
    side = found["side"]
    for index, name in enumerate(found["ids"]):
        row, column = divmod(index, found["columns"])
        tile = sheet[row * side : (row + 1) * side, column * side : (column + 1) * side]
        assert np.abs(tile - inputs["target"].images[int(name.split("/")[1]), ..., 0]).max() <= 9  # 16 levels of grey


def test_a_predicted_class_that_the_target_lacks_is_added():
    found = make_atlas(predicted={"photos/0000000": "emu", "photos/0000001": "dog"})
    assert found["classes"] == ["cat", "dog", "emu"]
    assert found["predicted"][:3] == [2, 1, -1]
    assert found["truth"][:2] == [0, 1]
    assert found["counts"] == [6, 6, 0]


def test_without_projections_there_is_no_map():
    assert make_atlas(make_inputs()["projections"].iloc[:0]) is None


@pytest.mark.parametrize("count", [2, 10, 11, 100])
def test_colours_are_distinct(count):
    found = colours(count)
    assert len(set(found)) == count
    assert all(len(one) == 7 and int(one[1:], 16) >= 0 for one in found)


def test_of_many_classes_the_most_frequent_come_first_and_have_colours():
    many = [f"class {index}" for index in range(1000)]
    found = make_atlas(classes=(*many, "cat", "dog"))
    assert len(found["colours"]) == MOST_COLOURS
    assert {"cat", "dog"} < set(found["classes"][:MOST_COLOURS])
    assert len(found["classes"]) == len(set(found["classes"])) == 1002
    assert {found["classes"][index] for index in found["truth"]} == {"cat", "dog"}


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_ramp_of_colours_grows_lighter(count):
    light = [sum(int(one[at : at + 2], 16) for at in (1, 3, 5)) for one in ramp(count)]
    assert len(light) == count
    assert light == sorted(light)


@pytest.mark.parametrize("channels", [1, 3])
def test_larger_pictures_are_shrunk(channels):
    images = np.full((7, 40, 40, channels), 200, dtype=np.uint8)
    sheet = decode(data_uri(images, columns=3, side=20)).convert("RGB")
    assert sheet.size == (60, 60)
    assert abs(sheet.getpixel((5, 5))[0] - 200) <= 9
    assert sheet.getpixel((50, 50)) == (0, 0, 0)  # no eighth picture


@pytest.mark.parametrize(("count", "size"), [(1, 224), (1797, 28), (5000, 224), (100, 8)])
def test_the_sheet_stays_within_its_budget(count, size):
    side = tile_side(count, size)
    assert side <= size
    assert side**2 * count <= SHEET_PIXELS


def decode(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
