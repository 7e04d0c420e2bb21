from __future__ import annotations

from pathlib import Path

import pytest

from septum.errors import InputError
from septum.evaluation.measures import MAIN, MEASURES, main_measures, measure

DOCS = Path(__file__).parents[2] / "docs" / "measures.md"


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_has_a_row_in_the_docs_and_one_line_here(name):
    assert f"`{name}`" in DOCS.read_text("utf-8")
    assert 5 < len(measure(name).definition) < 90


def test_names_that_are_made_have_their_meaning():
    assert measure("mask_rand_error").best == "low"
    assert "mask" in measure("mask_rand_error").definition
    assert "class 3" in measure("iou_3").definition
    assert measure("mask_iou_3").best == "high"
    assert measure("mask_warping_splits").whole
    for name in ("ap_51", "iou_", "mask_", "accuracy"):
        with pytest.raises(InputError, match="is no measure"):
            measure(name)


def test_the_main_measures_are_a_choice_in_a_fixed_order():
    assert set(MAIN) - {"mask_rand_error"} <= set(MEASURES)
    assert main_measures(["ap_50", "dice", "iou", "seg", "recall"]) == ["dice", "seg", "ap_50"]
    assert main_measures(["pixel_error", "dice", "iou", "iou_1", "iou_2"]) == [
        *("pixel_error", "dice", "iou", "iou_1", "iou_2")
    ]
