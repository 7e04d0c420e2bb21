"""Many images as one result: means with their intervals, and what is counted over all objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from septum.errors import InputError
from septum.evaluation.choices import Scored
from septum.evaluation.measures import measure
from septum.evaluation.objects import ObjectCounts, add_counts, scores_of_sums
from septum.evaluation.scores import Curve

RESAMPLES = 2000
BOOTSTRAP_SEED = 0


def summarize_scored(scored: Iterable[Scored]) -> dict[str, Any]:
    """As `summarize`, with ``overall``, ``overall_interval``, ``measures`` and ``chosen``.

    ``overall``: over all images together what the challenges do not average over images. Objects
    (`seg`, `det`, `ap_50` …, `panoptic_quality`, counts) are those of all images; of probabilities,
    `rand_error`, `v_rand`, `v_info` and `warping_error` are means over the images at one threshold
    for all, the best. ``overall_interval``: of these, as ``interval`` of the means: images are
    resampled, so that objects of one image come together, and the threshold is chosen anew each
    time. None of counts and thresholds, which are as they are. ``measures``: what each is, in a
    line. ``chosen``: which were, and why. Ready for JSON.
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
    shared = _shared_curves(curves)
    pooled: dict[str, float] = {}
    for curve in shared:
        mean_T = curve.value_T.mean(axis=0)
        pooled |= Curve(curve.name, curve.thresholds, mean_T).scores()
    pooled |= add_counts(objects).scores() if objects else {}
    intervals = _intervals_of_curves(shared) | _intervals_of_objects(objects)
    overall = {name: pooled[name] for name in summary["mean"] if name in pooled}
    return {
        **summary,
        "overall": overall,
        "overall_interval": {name: intervals.get(name) for name in overall},
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


def _shared_curves(curves: Sequence[Mapping[str, Curve]]) -> list[Curve]:
    """Those that all images have, each with values of shape (images, thresholds)."""
    return [
        Curve(name, first.thresholds, np.stack([each[name].value_T for each in curves]))
        for name, first in curves[0].items()
        if all(name in each for each in curves)
    ]


def _intervals_of_curves(curves: Sequence[Curve]) -> dict[str, list[float]]:
    """Of the best mean over images, which in other images might be at another threshold."""
    found = {}
    for curve in curves:
        images = len(curve.value_T)
        if images > 1:
            mean_RT = _times_drawn(images) @ curve.value_T / images
            best_R = mean_RT.min(1) if measure(curve.name).best == "low" else mean_RT.max(1)
            found[curve.name] = _percentiles(best_R)
    return found


def _intervals_of_objects(counts: Sequence[ObjectCounts]) -> dict[str, list[float]]:
    """Of what is counted over the objects of all images; resamplings without it are left out."""
    if len(counts) < 2:
        return {}
    sums_RF = _times_drawn(len(counts)) @ np.stack([count.to_sums() for count in counts])
    partial = any(count.partial for count in counts)
    return {
        name: _percentiles(value_R[value_R >= 0])
        for name, value_R in scores_of_sums(sums_RF, partial).items()
        if not measure(name).whole and (value_R >= 0).any()
    }


def _times_drawn(images: int) -> npt.NDArray[np.float64]:
    """How often each image is in each resampling, (RESAMPLES, images)."""
    places = _resamplings(images) + images * np.arange(RESAMPLES)[:, None]
    times = np.bincount(places.ravel(), minlength=RESAMPLES * images)
    return times.reshape(RESAMPLES, images).astype(np.float64)


def _interval(value_N: npt.NDArray[np.float64]) -> list[float] | None:
    if value_N.size < 2:
        return None
    return _percentiles(value_N[_resamplings(value_N.size)].mean(axis=1))


def _resamplings(images: int) -> npt.NDArray[np.int64]:
    """Which images are in each resampling, with replacement; the same at every call."""
    return np.random.default_rng(BOOTSTRAP_SEED).integers(images, size=(RESAMPLES, images))


def _percentiles(value_R: npt.NDArray[np.float64]) -> list[float]:
    low, high = np.percentile(value_R, [2.5, 97.5])
    return [float(low), float(high)]
