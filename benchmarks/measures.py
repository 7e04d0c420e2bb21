"""Septum's measures beside those of other libraries: the same numbers, and how many times as fast.

    make bench-measures
    .venv-peers/bin/python benchmarks/measures.py

On 30 slices of 512 × 512: the labels of the ISBI 2012 EM stack, and a proposal made of them by
noise (the same each time). Each pair is measured in turn in one process, A, B, A, B, …; the medians
go to docs/results/measures.json. A library that is not installed is named as missing.
"""

from __future__ import annotations

import importlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from scipy import ndimage

from em_slices import DATA
from results import print_tables, versions, write_result
from septum.evaluation.components import components
from septum.evaluation.contingency import contingency
from septum.evaluation.objects import average_precision, detection, match_objects, seg
from septum.evaluation.partitions import rand_of, variation_of
from septum.evaluation.pixels import map_average_precision
from septum.evaluation.thinning import mean_thinned_scores
from septum.evaluation.warping import warp
from septum.images.files import read_image

ROUNDS = 5
PEERS = ("scikit-image", "scikit-learn", "stardist", "py-ctcmetrics", "numpy", "scipy", "numba")
NOISE, SMOOTH = 1.5, 1.5


@dataclass(frozen=True)
class Scene:
    """Slices of the truth and of a proposal, as masks of objects, as ids, and as a map."""

    truth: np.ndarray
    truth_ids: list[np.ndarray]
    proposal: np.ndarray
    proposal_ids: list[np.ndarray]
    probability: np.ndarray


def make_scene() -> Scene:
    """The stack, and the map that is taken for a prediction of it."""
    truth = read_image(DATA / "train-labels.tif", labels=True).array != 0
    noise = np.random.default_rng(0).normal(0, NOISE, truth.shape).astype(np.float32)
    smooth = ndimage.gaussian_filter(truth + noise, (0, SMOOTH, SMOOTH))
    probability = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    proposal = probability > np.quantile(probability, 1 - truth.mean())
    ids = [[components(plane) for plane in stack] for stack in (truth, proposal)]
    return Scene(truth, ids[0], proposal, ids[1], probability)


def main() -> None:
    scene = make_scene()
    numbers: dict[str, Any] = {
        "slices": len(scene.truth),
        "objects": int(sum(ids.max() for ids in scene.truth_ids)),
        "segments": int(sum(ids.max() for ids in scene.proposal_ids)),
        "agreement": agreement(scene),
        "speed": speed(scene),
        "versions": versions(PEERS),
    }
    write_result("measures", numbers, "python benchmarks/measures.py")
    print_tables("measures-")


def speed(scene: Scene) -> dict[str, Any]:
    """Seconds of each, and of what does the same elsewhere."""
    pairs = list(zip(scene.proposal_ids, scene.truth_ids, strict=True))

    def rand_and_variation() -> None:
        for segmentation, truth in pairs:
            table = contingency(segmentation, truth)
            rand_of(table)
            variation_of(table)

    def of_scikit_image() -> None:
        from skimage.metrics import adapted_rand_error, variation_of_information

        for segmentation, truth in pairs:
            adapted_rand_error(truth, segmentation)
            variation_of_information(truth, segmentation, ignore_labels=(0,))

    def thinned() -> None:
        mean_thinned_scores(list(scene.probability), list(scene.truth))

    def thinned_by_scikit_image() -> None:
        from skimage.measure import label
        from skimage.metrics import adapted_rand_error
        from skimage.morphology import skeletonize

        for threshold in np.linspace(0.1, 0.9, 9):
            for plane, truth in zip(scene.probability, scene.truth_ids, strict=True):
                border = skeletonize(plane <= threshold)
                adapted_rand_error(truth, label(~border, connectivity=1))

    def warping() -> None:
        for plane, truth in zip(scene.proposal, scene.truth, strict=True):
            warp(plane, truth)

    return {
        "Rand and variation of information": compare(rand_and_variation, of_scikit_image),
        "V_rand and V_info after thinning, 9 thresholds": compare(
            thinned, thinned_by_scikit_image, rounds=2
        ),
        "warping error": compare(warping, None),
    }


def compare(
    ours: Callable[[], None], theirs: Callable[[], None] | None, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Medians of seconds, in turn, after one round that is not counted."""
    seconds: dict[str, list[float]] = {"septum": [], "scikit-image": []}
    for number in range(rounds + 1):
        for name, run in (("septum", ours), ("scikit-image", theirs)):
            if run is None:
                continue
            start = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - start)
    found: dict[str, Any] = {
        name: statistics.median(values) for name, values in seconds.items() if values
    }
    if theirs is not None:
        found["ratio"] = found["scikit-image"] / found["septum"]
    return found


def agreement(scene: Scene) -> dict[str, Any]:
    """The largest difference between septum and each library, over the slices; None: missing."""
    pairs = list(zip(scene.proposal_ids, scene.truth_ids, strict=True))
    tables = [contingency(*pair) for pair in pairs]
    return {
        "adapted Rand error, scikit-image": largest(
            "skimage.metrics",
            lambda m: [m.adapted_rand_error(t, s)[0] for s, t in pairs],
            [1 - rand_of(table).f_score for table in tables],
        ),
        "variation of information, scikit-image": largest(
            "skimage.metrics",
            lambda m: [m.variation_of_information(t, s, ignore_labels=(0,)) for s, t in pairs],
            [(v.split, v.merge) for v in map(variation_of, tables)],
        ),
        "average precision of a map, scikit-learn": largest(
            "sklearn.metrics",
            lambda m: [
                m.average_precision_score(t.ravel(), p.ravel())
                for t, p in zip(scene.truth[:5], scene.probability[:5], strict=True)
            ],
            [
                map_average_precision(p, t)
                for t, p in zip(scene.truth[:5], scene.probability[:5], strict=True)
            ],
        ),
        **of_stardist(pairs),
        **of_ctc(pairs),
    }


def of_stardist(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Matching at several τ: counts, AP, panoptic quality, mean matched IoU."""

    def theirs(module: Any) -> list[list[float]]:
        rows = []
        for segmentation, truth in pairs[:5]:
            for tau in (0.3, 0.5, 0.7, 0.9):
                m = module.matching(truth, segmentation, thresh=tau)
                rows.append([m.tp, m.fp, m.fn, m.accuracy, m.panoptic_quality])
        return rows

    ours = []
    for segmentation, truth in pairs[:5]:
        overlaps = contingency(segmentation, truth).overlaps()
        for tau in (0.3, 0.5, 0.7, 0.9):
            m = match_objects(overlaps, tau)
            ours.append(
                [
                    m.true_positives,
                    m.false_positives,
                    m.false_negatives,
                    m.average_precision,
                    m.panoptic_quality,
                ]
            )
    assert ours[1][3] == average_precision(*pairs[0], tau=0.5)
    return {"matching, StarDist": largest("stardist.matching", theirs, ours)}


def of_ctc(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """SEG and DET of the Cell Tracking Challenge's measures in Python.

    Each slice is a video in which nothing moves: of one frame it would find no edges to join.
    """

    def theirs(module: Any) -> list[list[float]]:
        metrics = importlib.import_module("ctc_metrics.metrics")
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            for segmentation, truth in pairs[:5]:
                files = [str(Path(folder) / name) for name in ("truth.tif", "segmentation.tif")]
                for file, ids in zip(files, (truth, segmentation), strict=True):
                    tifffile.imwrite(file, ids.astype(np.uint16))
                matched = [[part, part] for part in module.match(*files)]
                tracks = [np.array([[i, 0, 1, 0] for i in labels[0]]) for labels in matched[:2]]
                operations = module.count_acyclic_graph_correction_operations(*tracks, *matched[:4])
                rows.append([metrics.seg(matched[0], matched[4]), metrics.det(**operations)])
        return rows

    ours = [[seg(s, t), detection(contingency(s, t).overlaps()).det] for s, t in pairs[:5]]
    return {
        "SEG and DET, py-ctcmetrics": largest("ctc_metrics.utils.representations", theirs, ours)
    }


def largest(module: str, theirs: Callable[[Any], Any], ours: Any) -> float | None:
    """The largest difference between two lists of numbers; None if ``module`` is missing."""
    try:
        found = theirs(importlib.import_module(module))
    except ModuleNotFoundError:
        return None
    return float(np.abs(np.asarray(found, float) - np.asarray(ours, float)).max())


if __name__ == "__main__":
    main()
