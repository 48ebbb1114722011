import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from pipeline_lib.audit import near, nearest
from pipeline_lib.audit.alterations import ALTERATIONS, alter
from pipeline_lib.audit.duplicates import digests
from pipeline_lib.audit.threshold import FALSE, calibrate
from pipeline_lib.audit.views import WINDOWS, aligned, grids, whole_views, windows

CHANGED = [kind for kind in ALTERATIONS if kind != "exact"]
EACH = 12


def pictures(num: int, seed: int, channels: int = 3) -> np.ndarray:
    """Draw unrelated pictures, uint8 ``[N, 24, 24, C]``."""
    noise = np.random.default_rng(seed).normal(size=(num, 24, 24, channels))
    smooth = gaussian_filter(noise, (0, 2.5, 2.5, 0))
    return (128 + 45 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)


def find(one: np.ndarray, other: np.ndarray | None = None) -> near.Near:
    seen = near.see(one, digests(one))
    return near.near_duplicates(seen, seen if other is None else near.see(other, digests(other)), 0)


def planted(images: np.ndarray, seed: int = 7) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Return copies of the first images, so many of each alteration, and the pairs (original, copy)."""
    rng = np.random.default_rng(seed)
    parts = [alter(images[i * EACH : (i + 1) * EACH], kind, rng) for i, kind in enumerate(CHANGED)]
    return np.concatenate(parts), [(row, row) for row in range(EACH * len(CHANGED))]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return pictures(120, 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_planted_copies_are_found_across_and_unrelated_images_are_not(channels: int) -> None:
    source = pictures(120, 0, channels)
    copies, expected = planted(source)
    found = find(source, np.concatenate([copies, pictures(60, 1, channels)]))
    pairs = set(map(tuple, found.pairs.tolist()))
    assert not pairs - set(expected)
    assert len(pairs) >= 0.95 * len(expected)


def test_planted_copies_are_found_within_a_set(images: np.ndarray) -> None:
    copies, expected = planted(images)
    pairs = set(map(tuple, find(np.concatenate([images, copies])).pairs.tolist()))
    shifted = {(one, other + len(images)) for one, other in expected}
    assert not pairs - shifted and len(pairs) >= 0.95 * len(expected)


def test_unrelated_images_are_silent(images: np.ndarray) -> None:
    for seed in range(1, 6):
        found = find(images, pictures(120, seed))
        assert not len(found.pairs)
        assert found.threshold is not None and found.threshold.false <= FALSE


def test_what_is_said_of_recall_holds_for_other_copies(images: np.ndarray) -> None:
    copies, expected = planted(images, seed=99)
    found = find(images, np.concatenate([copies, pictures(60, 1)]))
    assert found.threshold is not None
    pairs = set(map(tuple, found.pairs.tolist()))
    for number, kind in enumerate(CHANGED):
        of = set(expected[number * EACH : (number + 1) * EACH])
        said = found.threshold.recall[kind]
        spread = np.sqrt(max(said * (1 - said), 0.02) * (1 / EACH + 1 / near.PLANTED))
        assert abs(len(of & pairs) / EACH - said) <= 3.5 * spread


def test_the_order_of_images_does_not_matter(images: np.ndarray) -> None:
    copies, _ = planted(images)
    both = np.concatenate([images, copies])
    order = np.random.default_rng(3).permutation(len(both))
    one, other = find(both), find(both[order])
    assert {frozenset(order[list(pair)].tolist()) for pair in other.pairs} == {
        frozenset(pair) for pair in one.pairs.tolist()
    }
    assert one.threshold is not None and other.threshold is not None
    assert one.threshold.score == pytest.approx(other.threshold.score, rel=1e-3)


@pytest.mark.parametrize("cell", [256, 16])
def test_blocks_do_not_change_what_is_found(images: np.ndarray, cell: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "CELL", cell)
    copies, expected = planted(images)
    both = np.concatenate([images, copies])
    whole = find(both)
    monkeypatch.setattr(nearest, "BLOCK", 17)
    monkeypatch.setattr(near, "ALIGNED", 23)
    parts = find(both)
    np.testing.assert_array_equal(np.sort(whole.pairs, axis=0), np.sort(parts.pairs, axis=0))
    assert len(parts.pairs) >= 0.9 * len(expected)


def test_threads_do_not_change_what_is_found(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "BLOCK", 17)
    monkeypatch.setattr(nearest, "num_cores", lambda: 8)
    found = []
    for threads in (1, 5):
        monkeypatch.setattr(nearest, "THREADS", threads)
        found.append(find(images))
    np.testing.assert_array_equal(found[0].pairs, found[1].pairs)
    assert found[0].threshold == found[1].threshold


@pytest.mark.parametrize("num", [0, 1, 2, 60])
def test_sets_that_tell_nothing_have_no_near_duplicates(num: int, images: np.ndarray) -> None:
    for few in (np.zeros((num, 24, 24, 3), np.uint8), np.repeat(images[:1], num, axis=0), images[: min(num, 2)]):
        assert not len(find(few).pairs) and find(few).threshold is None
        assert find(few, images).threshold is None and find(images, few).threshold is None


def test_equal_images_among_others_are_left_to_the_exact_search(images: np.ndarray) -> None:
    assert not len(find(np.concatenate([images, images[:40], images[:40]])).pairs)


def test_a_new_frame_leaves_the_content_alone(images: np.ndarray) -> None:
    framed = np.full((1, 48, 48, 3), 255, np.uint8)
    framed[0, 10:34, 5:29] = np.minimum(images[0], 200)
    views, owners = grids(framed)
    assert owners.tolist() == [0, 0]
    inner, _ = grids(np.minimum(images[:1], 200))
    assert np.abs(views[1].astype(int) - inner[0]).max() <= 1


def test_alignment_finds_the_window_that_was_cut_out(images: np.ndarray) -> None:
    large = np.kron(images[:20], np.ones((1, 4, 4, 1), np.uint8))
    cut = large[:, 6:90, 9:93]
    (whole, _), (part, _) = grids(large), grids(cut)
    at = np.tile(WINDOWS[-1], (20, 1))
    assert np.median(aligned(whole, part, at)) < 0.05
    assert np.median(aligned(whole, part[::-1].copy(), at)) > 0.5


def test_the_threshold_keeps_to_its_false_alarms() -> None:
    rng = np.random.default_rng(0)
    copies = {"cropped": rng.uniform(0, 0.5, 200)}
    # The nearest of many points in four dimensions; three in ten have a copy.
    unrelated = rng.weibull(4, 20_000)
    mixed = np.where(rng.random(20_000) < 0.3, rng.uniform(0, 0.2, 20_000), unrelated)
    for scores, share in ((unrelated, 1.0), (mixed, 0.7)):
        found = calibrate(copies, scores)
        real = (unrelated <= found.score).mean() * share
        assert 0.4 * FALSE <= real <= 2.5 * FALSE
        assert found.recall["cropped"] == (copies["cropped"] <= found.score).mean() < 0.6
    apart = calibrate({"cropped": rng.uniform(0, 0.01, 200)}, unrelated)
    assert apart.recall["cropped"] >= 0.98 and apart.false < 1e-4


def test_images_that_are_as_alike_as_planted_copies_are_not_called_copies() -> None:
    """Where copies cannot be told from images that are alike by nature, the threshold is below what those reach."""
    rng = np.random.default_rng(0)
    alike = rng.weibull(12, 300) * 0.5
    planted = {"cropped": rng.uniform(0.1, 1.2, 60), "exact": np.zeros(60)}
    found = calibrate(planted, alike)
    assert (alike <= found.score).mean() <= 0.01 and found.recall["exact"] == 1
    few = calibrate(planted, alike[:1])
    assert few.false == 0 or few.false <= 0.001


def test_a_whole_view_is_the_first_of_its_windows():
    grids = np.random.default_rng(0).integers(0, 256, (50, 3, 24, 24), np.uint8)
    torch.testing.assert_close(whole_views(grids), windows(grids)[:, 0], atol=1e-6, rtol=0)
