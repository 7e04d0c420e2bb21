"""Objects are counted and measured as they can be by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from septum.annotation.labels import LabelMeaning, find_meaning
from septum.recipe import Labels
from septum.survey.objects import REACH, join_objects, measure_objects, without_specks

NUMBERED = LabelMeaning("instances", (0, 1))


def drawing() -> np.ndarray:
    """1 and 2 touch, 3 is 5 pixels of background from 2, 4 is far from all; 5 is in two pieces."""
    ids = np.zeros((120, 120), np.uint16)
    ids[10:20, 10:20], ids[10:20, 20:30], ids[10:20, 35:45] = 1, 2, 3
    ids[90:110, 90:110] = 4
    ids[60:64, 10:14], ids[60:64, 16:20] = 5, 5
    return ids


def test_areas_pairs_and_gaps_by_hand() -> None:
    found = measure_objects(drawing(), NUMBERED, "drawing")
    assert sorted(found.areas) == [32, 100, 100, 100, 400]
    assert (found.pairs, found.touching) == (1, 2)
    assert found.gaps is not None
    # The seam between 1 and 2 is two pixels wide; 6 pixels between the centres of 2 and 3's edges.
    gaps = dict(zip(found.gaps[:, 0], found.gaps[:, 1], strict=True))
    assert gaps[400] == math.inf
    assert sorted(round(g, 3) for g in found.gaps[:, 1])[:3] == [3, 3, 6]
    joined = join_objects([found], [(0.5, 0.5)], 2)
    assert joined.count == 5
    assert joined.touching == 2 / 5
    assert joined.near == 3 / 5
    assert joined.area is not None
    assert joined.area.median == 100
    assert joined.diameter is not None
    assert joined.diameter.median == pytest.approx(2 * math.sqrt(100 / math.pi))
    assert joined.diameter_um is not None
    assert joined.diameter_um.median == pytest.approx(math.sqrt(100 / math.pi))
    assert joined.sizes is not None
    assert sum(joined.sizes.counts) == 5


def test_beyond_the_reach_there_is_no_neighbour() -> None:
    for gap, near in ((int(REACH) - 2, 2), (int(REACH) + 1, 0)):
        ids = np.zeros((40, 80), np.uint8)
        ids[10:20, 10:20], ids[10:20, 20 + gap : 30 + gap] = 1, 2
        found = measure_objects(ids, NUMBERED, "two")
        assert found.gaps is not None
        assert np.isfinite(found.gaps[:, 1]).sum() == near


def test_a_nucleus_has_no_wall_to_its_own_cytoplasm() -> None:
    labels = np.zeros((60, 90), np.uint8)
    labels[10:40, 10:40], labels[11:30, 12:30] = 1, 2  # the nucleus a pixel from the background
    meaning = find_meaning([("a", labels)], Labels(kind="classes"))
    alone = measure_objects(labels, meaning, "a")
    assert sorted(alone.areas) == [18 * 19, 30 * 30 - 18 * 19]
    assert alone.gaps is not None
    assert alone.gaps.tolist() == [[900, math.inf]]
    labels[10:40, 45:75] = 1  # 5 pixels of background between two cells
    both = measure_objects(labels, meaning, "a")
    assert both.gaps is not None
    assert both.gaps[:, 1] == pytest.approx([6, 6], abs=1e-3)


def lines() -> np.ndarray:
    """A disc of 40 pixels, a rod of 8 × 48, and a net of lines of 4 pixels, numbered."""
    y, x = np.mgrid[:400, :400]
    ids = np.zeros((400, 400), np.uint8)
    ids[(y - 50) ** 2 + (x - 50) ** 2 <= 20**2] = 1
    ids[40:48, 120:168] = 2
    net = (y % 40 < 4) | (x % 40 < 4)
    ids[120:380, 20:380][net[120:380, 20:380]] = 3
    return ids


def test_what_is_thin_is_as_large_as_it_is_wide() -> None:
    found = measure_objects(lines(), NUMBERED, "lines")
    disc, rod, net = found.diameters
    assert disc == pytest.approx(40, rel=0.02)
    assert rod == pytest.approx(2 * math.sqrt(8 * 48 / math.pi))
    assert 3 <= net <= 6
    assert found.areas[2] > 15_000  # a disc of so many pixels would be 140 wide
    wide = measure_objects(lines().repeat(3, 0).repeat(3, 1), NUMBERED, "wide").diameters
    np.testing.assert_allclose(wide, 3 * found.diameters)
    whole = measure_objects(np.ones((30, 40), np.uint8), NUMBERED, "whole")
    assert whole.diameters == pytest.approx([2 * math.sqrt(1200 / math.pi)])
    large = lines().astype(np.int64) * 10**9
    np.testing.assert_array_equal(measure_objects(large, NUMBERED, "l").diameters, found.diameters)


def test_threads_in_volumes_are_as_large_as_they_are_wide() -> None:
    z, y, x = np.mgrid[:40, :40, :300]
    ids = ((z - 15) ** 2 + (y - 15) ** 2 + (x - 15) ** 2 <= 12**2).astype(np.uint8)
    ids[30:34, 30:34] = 2
    found = measure_objects(ids, NUMBERED, "volume")
    ball, thread = found.diameters
    assert ball == pytest.approx(24, rel=0.03)
    assert 3 <= thread <= 7
    joined = join_objects([found], [(2.0, 1.0, 1.0)], 3)
    assert joined.diameter_um is not None
    assert joined.diameter is not None
    assert joined.diameter_um.high == pytest.approx(2 ** (1 / 3) * joined.diameter.high)


def test_specks_are_left_out_of_pieces_and_not_of_numbers() -> None:
    labels = np.where(drawing() > 0, 255, 0).astype(np.uint8)
    labels[70, 70] = 255
    meaning = find_meaning([("a", labels)], Labels())
    found = measure_objects(labels, meaning, "a")
    assert min(found.areas) == 1
    (kept,) = without_specks([found])
    assert kept.specks == 1
    assert sorted(kept.areas) == [16, 16, 100, 200, 400]
    ids = drawing()
    ids[70, 70] = 6
    numbered = measure_objects(ids, NUMBERED, "b")
    assert without_specks([numbered]) == [numbered]


def bands(inner: float = 15.5, outer: float = 22) -> np.ndarray:
    """Of class 1 bands of 12 and 2 pixels and a ring, of class 2 the disc in it."""
    labels = np.zeros((200, 300), np.uint8)
    labels[10:22, 20:280] = 128
    labels[30:32, 20:120] = 128
    y, x = np.indices(labels.shape)
    distance = np.hypot(y - 120, x - 150)
    labels[distance < outer] = 128
    labels[distance < inner] = 255
    return labels


def test_the_narrowest_class_is_as_wide_as_most_of_its_pixels_are_in() -> None:
    labels = bands()
    meaning = find_meaning([("a", labels)], Labels())
    assert meaning.kind == "classes"
    found = measure_objects(labels, meaning, "a")
    np.testing.assert_allclose(found.bands[found.kinds == 1], (12, 2, 6.5), rtol=0.25)  # straight
    np.testing.assert_allclose(found.bands[found.kinds == 2], 15.5, rtol=0.05)
    # Of class 1 200 pixels are 2 wide, about 760 6.5, 3120 12: a quarter of all is 1020.
    joined = join_objects([found, found], [None] * 2, 2)
    assert joined.narrowest == pytest.approx(12, rel=0.25)
    labels[10:22, 20:280] = 0
    alone = join_objects([measure_objects(labels, meaning, "a")], [None], 2)
    assert alone.narrowest == pytest.approx(6.5, rel=0.1)
    labels[190, 10:290:2] = 255  # slips of the pen
    (kept,) = without_specks([measure_objects(labels, meaning, "a")])
    assert kept.specks == 140
    assert join_objects([kept], [None], 2).narrowest == alone.narrowest


@pytest.mark.parametrize("inner", [10, 20, 25, 30, 36])
def test_a_ring_is_as_wide_as_its_band_however_thick(inner: float) -> None:
    labels = bands(inner, 40)
    labels[:40] = 0
    meaning = find_meaning([("a", labels)], Labels())
    found = measure_objects(labels, meaning, "a")
    np.testing.assert_allclose(found.bands, (40 - inner, inner), rtol=0.05)
    joined = join_objects([found], [None], 2)
    assert joined.narrowest == pytest.approx(min(40 - inner, inner), rel=0.05)


def test_where_a_class_has_specks_alone_none_is_the_narrowest() -> None:
    labels = np.zeros((600, 600), np.uint8)
    labels[50:350, 50:350] = 128
    labels[100:300, 100:300] = 255
    for corner in range(40, 560, 20):
        labels[450:459, corner : corner + 9] = 64
    meaning = find_meaning([("a", labels)], Labels())
    assert meaning.class_count == 4
    drawn = [measure_objects(labels, meaning, "a")]
    assert join_objects(drawn, [None], 2).narrowest == pytest.approx(4.5, rel=0.3)
    drawn = without_specks(drawn)
    assert drawn[0].specks == 26
    assert join_objects(drawn, [None], 2).narrowest is None


def test_of_one_class_none_is_the_narrowest() -> None:
    labels = np.where(drawing() > 0, 255, 0).astype(np.uint8)
    for meaning in (NUMBERED, find_meaning([("a", labels)], Labels())):
        assert join_objects([measure_objects(labels, meaning, "a")], [None], 2).narrowest is None


def test_balls_have_the_diameter_of_their_volume() -> None:
    ids = np.zeros((30, 30, 30), np.uint16)
    z, y, x = np.indices(ids.shape) - 15
    ids[z * z + y * y + x * x <= 100] = 7
    joined = join_objects([measure_objects(ids, NUMBERED, "ball")], [None], 3)
    assert joined.diameter is not None
    assert joined.diameter.median == pytest.approx(20, abs=0.2)
    assert joined.diameter_um is None


def test_nothing_drawn_is_nothing_measured() -> None:
    found = measure_objects(np.zeros((9, 9), np.uint8), NUMBERED, "none")
    joined = join_objects([found], [None], 2)
    assert (joined.count, joined.area, joined.gap, joined.near) == (0, None, None, 0.0)
