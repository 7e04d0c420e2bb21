"""Augment one 512² image with its label, one thread: septum beside its peers.

Shift, rotation, flip, 3 × 3 elastic field with σ = 10 pixels, grey values; float32 image.
Run by training_peers.py in a process of its own. Prints one line of JSON.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.measure import label as number_components

from septum.annotation.synthetic import make_membranes
from septum.augment.deform import Deformation, deform, sample_deformation
from septum.augment.intensity import sample_grey_values, vary_grey_values
from septum.memory import raise_allocator_thresholds
from septum.recipe import load_recipe
from training_augmentation_peers import PEERS
from training_rounds import build_all, time_in_turn

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("SEPTUM_DATA", ROOT.parent / "shared" / "data")) / "isbi2012-em"
ROUNDS, SECONDS = 9, 0.15


def main() -> None:
    raise_allocator_thresholds()
    torch.set_num_threads(1)
    image, classes, source = load_image()
    builders = {
        "septum, linear": functools.partial(ours, image, classes, False),
        "septum, cubic": functools.partial(ours, image, classes, True),
        **{name: functools.partial(build, image, classes) for name, build in PEERS.items()},
    }
    contestants, missing = build_all(builders)
    seconds = time_in_turn(contestants, ROUNDS, SECONDS)
    check = None if "elasticdeform, order 3" in missing else compare_with_elasticdeform(image)
    numbers = {"image": source, "seconds": seconds, "missing": missing, "same_field": check}
    print(json.dumps(numbers))


def load_image() -> tuple[np.ndarray, np.ndarray, str]:
    """Image (0 to 1, float32), membrane (uint8, 1 on it), and where they are from."""
    if DATA.exists():
        import tifffile

        image = tifffile.imread(DATA / "train-volume.tif", key=0)
        labels = tifffile.imread(DATA / "train-labels.tif", key=0)
        source = "isbi2012-em, slice 0"
    else:
        image, labels = make_membranes((512, 512), np.random.default_rng(0))
        source = "synthetic membranes"
    return image.astype(np.float32) / 255, (labels == 0).astype(np.uint8), source


def ours(image: np.ndarray, classes: np.ndarray, cubic: bool) -> Callable[[], Any]:
    """What septum.training does for a tile of recipe `default` and of the image's size."""
    section, rng, extents = load_recipe("default").augment, np.random.default_rng(0), image.shape
    instances = number_components(classes == 0, connectivity=1).astype(np.int32)

    def call() -> Any:
        deformation = sample_deformation(extents, extents, extents, section, rng)
        warped, *labels = deform(
            image[None], classes, instances, deformation, extents, extents, cubic
        )
        return vary_grey_values(warped, sample_grey_values(section, rng)), labels

    return call


def compare_with_elasticdeform(image: np.ndarray, margin: int = 48) -> dict[str, float]:
    """Largest difference of the two resampled images, as a share of the image's range.

    Same displacements at 3 × 3 nodes over the whole image, no rotation, linear interpolation,
    mirrored border. Once inside ``margin`` pixels from the border, once everywhere.
    """
    import elasticdeform

    displacement = np.random.default_rng(1).normal(0, 10, (2, 3, 3))
    theirs = elasticdeform.deform_grid(image, displacement, order=1, mode="mirror")
    extents = image.shape
    centre = tuple((extent - 1) / 2 for extent in extents)
    deformation = Deformation(centre, np.eye(2), displacement, tuple(map(float, extents)))
    labels = np.zeros(extents, np.uint8), np.zeros(extents, np.int32)
    mine = deform(image[None], *labels, deformation, extents, extents)[0][0]
    difference = np.abs(mine - theirs) / np.ptp(image)
    inner = difference[margin:-margin, margin:-margin]
    return {"interior": float(inner.max()), "everywhere": float(difference.max())}


if __name__ == "__main__":
    main()
