"""How wrong border weights are that are carried through the deformation instead of recomputed.

    python benchmarks/warped_weights.py

On the ISBI 2012 EM slices, deformed as `paper-2015` does (rotation, flips, elastic, σ = 10). The
data is looked for in $SEPTUM_DATA (default ../shared/data). docs/results/warped-weights.json.
"""

from __future__ import annotations

import numpy as np

from em_slices import DATA
from results import write_result
from septum.augment.deform import deform, sample_deformation
from septum.loss.border_weight import border_weight
from septum.recipe import load_recipe
from septum.training.data import load_data
from septum.training.images import training_images


def main() -> None:
    recipe = load_recipe("paper-2015", ["validation.last=2"])
    data = load_data(DATA, recipe)
    w0, sigma = recipe.loss.border_weight, recipe.loss.border_sigma
    rows = []
    for number, image in enumerate(training_images(data.training, data.meaning, data.intensity)):
        rng = np.random.default_rng(number)
        tile = image.extents
        drawn = sample_deformation(image.extents, tile, tile, recipe.augment, rng)
        weights_S = border_weight(image.instances_S, w0, sigma)
        warped_CT, classes_T, instances_T = deform(
            weights_S[None], image.classes_S, image.instances_S, drawn, tile, tile
        )
        exact_T = border_weight(instances_T, w0, sigma)
        difference_T = np.abs(warped_CT[0] - exact_T)[classes_T == 0]
        rows.append((difference_T.mean(), difference_T.max(), (difference_T > 1).mean()))
    mean, largest, share = np.array(rows).T
    numbers = {
        "w0": w0,
        "sigma": sigma,
        "images": len(rows),
        "mean_difference_on_background": float(mean.mean()),
        "largest_difference": float(largest.max()),
        "share_of_background_wrong_by_more_than_1": float(share.mean()),
    }
    write_result("warped-weights", numbers, "python benchmarks/warped_weights.py")


if __name__ == "__main__":
    main()
