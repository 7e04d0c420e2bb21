"""The measures on annotations that people made: size, number and shape of real objects."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import adapted_rand_error

from septum.evaluation.components import components
from septum.evaluation.partitions import best_threshold, rand_error, rand_f_score
from septum.images.files import read_image

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SEPTUM_DATA", ROOT.parent / "shared" / "data"))


def labels(name):
    file = DATA / name
    if not file.exists():
        pytest.skip(f"{name} is not under {DATA}; set SEPTUM_DATA to the folder of real data")
    return read_image(file, labels=True).array


def test_rand_of_drawn_cells_agrees_with_scikit_image():
    truth = components(labels("isbi2012-em/train-labels.tif")[0] > 0)
    other = components(labels("isbi2012-em/train-labels.tif")[1] > 0)  # the next section
    error, _, _ = adapted_rand_error(truth, other)
    assert 0.05 < error < 0.95
    assert 1 - rand_f_score(other, truth).f_score == pytest.approx(error, abs=1e-6)


def test_rand_of_silver_and_gold_cells_agrees_with_scikit_image():
    gold = labels("PhC-C2DH-U373/02_GT/SEG/man_seg010.tif")
    silver = labels("PhC-C2DH-U373/02_ST/SEG/man_seg010.tif")
    error, _, _ = adapted_rand_error(gold, silver)
    assert 0 < error < 0.5
    assert 1 - rand_f_score(silver, gold).f_score == pytest.approx(error, abs=1e-6)


def test_the_drawn_membrane_has_no_error_against_itself_and_more_when_moved():
    truth = labels("isbi2012-em/train-labels.tif")[28] > 0
    errors = [rand_error(np.roll(truth, k, axis=0), truth, [0.5])[0] for k in (0, 2, 6)]
    assert errors[0] == 0.0
    assert errors[0] < errors[1] < errors[2]


def test_a_threshold_for_a_training_stack_is_found_from_a_shifted_map():
    truths = list(labels("isbi2012-em/train-labels.tif")[:4] > 0)
    maps = [np.where(truth, 0.85, 0.65).astype(np.float32) for truth in truths]
    threshold, error = best_threshold(maps, truths)
    assert error == 0.0
    assert 0.65 <= threshold < 0.85
