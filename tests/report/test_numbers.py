"""The big numbers of a page, and the curves of the same measures."""

from __future__ import annotations

from septum.report.charts import draw_errors
from septum.report.numbers import score_numbers

OBJECTS = {"pixel_error": 0.02, "iou": 0.8, "rand_error": 0.05, "object_error": 0.35}


def test_objects_come_first_where_there_are_any() -> None:
    names = [name for _, name, _ in score_numbers(OBJECTS)]
    assert names[0] == "objects found and outlined well"
    assert score_numbers(OBJECTS)[0][0] == "65.0 %"
    assert len(names) == 4
    pixels = {k: v for k, v in OBJECTS.items() if k != "object_error"}
    assert [name for _, name, _ in score_numbers(pixels)] == names[1:]


def test_what_cannot_be_said_is_left_out() -> None:
    assert score_numbers({"iou": float("nan")}) == []
    assert score_numbers({}) == []


def test_each_measure_of_the_validations_has_its_curve() -> None:
    records = [{"kind": "validation", "epoch": n, "step": n, **OBJECTS} for n in (1, 2)]
    drawn = draw_errors(records, None).decode()
    for name in ("Pixel error", "Rand error", "Object error"):
        assert name in drawn
    fewer = [{k: v for k, v in record.items() if k != "object_error"} for record in records]
    assert "Object error" not in draw_errors(fewer, None).decode()
