from __future__ import annotations

import csv
import json

import pytest

from septum.errors import SaveError
from septum.evaluation.measures import MEASURES
from septum.evaluation.summary import summarize
from septum.evaluation.tables import (
    WIDTH,
    format_number,
    format_report,
    format_table,
    write_csv,
    write_json,
)


def summary_of(rows, overall=None, overall_interval=None):
    summary = summarize(rows)
    measures = {name: MEASURES[name].definition for name in summary["mean"] if name in MEASURES}
    return {
        **summary,
        "overall": overall or {},
        "overall_interval": overall_interval or dict.fromkeys(overall or {}),
        "measures": measures,
        "chosen": ["because"],
    }


ROWS = [{"name": "a", "iou": 0.25, "rand_error": 0.1}, {"name": "longer", "iou": 0.75}]


def test_the_table_is_aligned_and_complete():
    lines = format_table(summary_of(ROWS, {"iou": 0.125})).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["rand_"]
    assert lines[1].split() == ["image", "iou", "error"]
    assert lines[3].split() == ["a", "0.2500", "0.1000"]
    assert lines[4].split() == ["longer", "0.7500"]
    assert lines[6].split() == ["mean", "0.5000", "0.1000"]
    assert [line[:9] for line in lines[7:]] == ["95 % from", "95 % to  ", "overall  "]
    assert lines[9].split() == ["overall", "0.1250"]
    wide = format_table(summary_of(ROWS, {"iou": 0.125}, {"iou": [0.0625, 0.5]})).splitlines()
    assert wide[:10] == lines
    assert [line[:9] for line in wide[10:]] == ["95 % from", "95 % to  "]
    assert [line.split()[-1] for line in wide[10:]] == ["0.0625", "0.5000"]
    alone = format_table(summary_of(ROWS[:1], {"iou": 0.25})).splitlines()
    assert len(alone) == 6  # one image has no interval, and is all there is


def all_measures(name):
    return {"name": name, **dict.fromkeys(MEASURES, 0.1234)}


def test_no_line_is_wider_than_a_terminal_whatever_is_shown():
    rows = [all_measures("x" * 60 + str(k)) for k in range(3)]
    for everything in (False, True):
        text = format_report(summary_of(rows), everything)
        assert max(map(len, text.splitlines())) <= WIDTH
        assert "xxx2" in text
    blocks = format_table(summary_of(rows)).split("\n\n")
    lines = [line for block in blocks for line in block.splitlines()]
    means = [line.split()[1:] for line in lines if line.startswith("mean ")]
    assert len(blocks) == len(means) > 2
    assert sum(map(len, means)) == len(MEASURES)


@pytest.mark.parametrize("name", [*MEASURES, "mask_rand_error", "iou_1"])
def test_a_heading_is_the_name_broken_where_it_may_be(name):
    lines = format_table(summary_of([{"name": "a", name: 0.5}])).splitlines()
    heading = [line.removeprefix("image").strip() for line in lines[: len(lines) - 4]]
    assert "".join(heading) == name
    assert max(map(len, heading)) <= 12
    assert all(part.endswith("_") for part in heading[:-1])


def test_the_report_says_why_what_is_better_and_where_the_rest_is():
    text = format_report(summary_of([{**all_measures("a")}, {**all_measures("b")}]))
    lines = " ".join(text.split())
    assert lines.startswith("because ")
    assert "lower is better: pixel_error, rand_error, warping_error" in lines
    assert "higher is better: dice, v_rand, seg, det, ap_50, panoptic_quality" in lines
    assert f"all {len(MEASURES)} measures, with what they are: --all" in lines
    assert "ap_75" not in lines
    everything = " ".join(format_report(summary_of([all_measures("a")]), True).split())
    assert f"ap_75: {MEASURES['ap_75'].definition}" in everything


@pytest.mark.parametrize(
    ("value", "whole", "text"),
    [
        (0.25, False, "0.2500"),
        (0.00034, False, "3.4e-04"),
        (0.0, False, "0.0000"),
        (None, False, ""),
        (12.0, True, "12"),
        (12.5, True, "12.5"),
    ],
)
def test_numbers(value, whole, text):
    assert format_number(value, whole) == text


def test_csv_has_a_row_an_image_then_mean_and_interval(tmp_path):
    rows = [{"name": 'a,"b"', "iou": 0.25, "rand_error": 0.1}, *ROWS[1:]]
    summary = summary_of(rows, {"iou": 1 / 3}, {"iou": [0.25, 0.5]})
    write_csv(tmp_path / "s.csv", summary)
    with (tmp_path / "s.csv").open(encoding="utf-8", newline="") as file:
        head, *found = csv.reader(file)
    assert head == ["row", "name", "iou", "rand_error"]
    assert found[0] == ["image", 'a,"b"', "0.25", "0.1"]
    assert found[1] == ["image", "longer", "0.75", ""]
    assert found[2] == ["mean", "", "0.5", "0.1"]
    low, high = summary["interval"]["iou"]
    assert found[3] == ["interval_low", "", str(low), ""]
    assert found[4] == ["interval_high", "", str(high), ""]
    assert found[5] == ["overall", "", str(1 / 3), ""]  # to the last digit
    assert found[6] == ["overall_interval_low", "", "0.25", ""]
    assert found[7] == ["overall_interval_high", "", "0.5", ""]
    assert len(found) == 8


def test_json_is_the_summary_and_what_stood_there_survives_a_failure(tmp_path):
    summary = summary_of(ROWS)
    write_json(tmp_path / "s.json", summary)
    assert json.loads((tmp_path / "s.json").read_text("utf-8")) == summary
    for write in (write_json, write_csv):
        with pytest.raises(SaveError):
            write(tmp_path / "none" / "s", summary)
    with pytest.raises(TypeError):
        write_json(tmp_path / "s.json", {"a": object()})
    assert json.loads((tmp_path / "s.json").read_text("utf-8")) == summary
