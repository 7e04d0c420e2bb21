"""Many images as one result: means with their intervals, and what is counted over all objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from septum.errors import InputError
from septum.evaluation.choices import Scored
from septum.evaluation.measures import measure
from septum.evaluation.objects import add_counts
from septum.evaluation.scores import Curve

RESAMPLES = 2000
BOOTSTRAP_SEED = 0


def summarize_scored(scored: Iterable[Scored]) -> dict[str, Any]:
    """As `summarize`, with ``overall``, ``measures`` and ``chosen``; ready for JSON.

    ``overall``: over all images together what the challenges do not average over images. Objects
    (`seg`, `det`, `ap_50` …, `panoptic_quality`, counts) are those of all images; of probabilities,
    `rand_error`, `v_rand`, `v_info` and `warping_error` are means over the images at one threshold
    for all, the best. ``measures``: what each is, in a line. ``chosen``: which were, and why.
    """
    rows, objects, curves = [], [], []
    chosen: dict[str, int] = {}
    for item in scored:
        rows.append({"name": item.name, **item.scores.values})
        curves.append(item.scores.curves)
        if item.scores.objects is not None:
            objects.append(item.scores.objects)
        for line in item.chosen:
            chosen[line] = chosen.get(line, 0) + 1
    summary = summarize(rows)
    pooled = _at_one_threshold(curves)
    pooled |= add_counts(objects).scores() if objects else {}
    return {
        **summary,
        "overall": {name: pooled[name] for name in summary["mean"] if name in pooled},
        "measures": {name: measure(name).definition for name in summary["mean"]},
        "chosen": [
            line if count == len(rows) else f"{line} ({count} of {len(rows)} images)"
            for line, count in chosen.items()
        ],
    }


def summarize(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`{"images": rows, "mean": {...}, "interval": {...}}`, ready for JSON.

    A row has a "name" and numbers by measure. `mean` is over the images that have the measure,
    each counting alike whatever its size. `interval` is the mean's 95 % bootstrap interval
    (percentiles 2.5 and 97.5 of 2000 resamplings of the images, always the same ones), as
    `[low, high]`, and null for a measure of one image only. Raises InputError for no row.
    """
    if not rows:
        raise InputError("nothing to summarise: no image was scored")
    measures = list(dict.fromkeys(key for row in rows for key in row if key != "name"))
    values = {m: np.array([row[m] for row in rows if m in row], float) for m in measures}
    return {
        "images": [dict(row) for row in rows],
        "mean": {m: float(value_N.mean()) for m, value_N in values.items()},
        "interval": {m: _interval(value_N) for m, value_N in values.items()},
    }


def _at_one_threshold(curves: Sequence[Mapping[str, Curve]]) -> dict[str, float]:
    """Means over images of what is best on average; only of measures that all images have."""
    found: dict[str, float] = {}
    for name, first in curves[0].items():
        values = [each[name].value_T for each in curves if name in each]
        if len(values) == len(curves):
            mean = Curve(name, first.thresholds, np.mean(values, axis=0))
            found |= mean.scores()
    return found


def _interval(value_N: npt.NDArray[np.float64]) -> list[float] | None:
    if value_N.size < 2:
        return None
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    chosen_RN = generator.integers(value_N.size, size=(RESAMPLES, value_N.size))
    low, high = np.percentile(value_N[chosen_RN].mean(axis=1), [2.5, 97.5])
    return [float(low), float(high)]
