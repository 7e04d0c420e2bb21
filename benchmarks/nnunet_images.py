"""Train nnU-Net's 2D network by its own recipe on a few nuclei images, and score its objects.

    .venv-peers/bin/python benchmarks/nnunet_images.py --images 10 --draw 1 --minutes 30

Beside `python benchmarks/tutorials.py nuclei --images 10 --draw 1 --minutes 30`: the same images
train (all of them: nnU-Net keeps none for validation here), on the same cores, for as long, and the
same images are scored. nnU-Net analyses and prepares the images, plans its network, augments, and
takes its training steps; preparation is not counted. Only its schedule is ours: its learning rate
falls as it always does (a power of 0.9), but over these minutes instead of 1000 epochs of 250
steps, which take days on a processor. Labels are what septum's network learns from, too: background
where two nuclei touch. Objects are the connected components (by faces) of its prediction, at its
defaults: steps of half a window, Gaussian weights, mirrored along both axes.

The result goes to docs/results/nnunet-nuclei-N-images-draw-D.json. A call that was cut short has
to be made again.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import skimage.measure
import tifffile
import torch

import heads
from results import versions, write_result
from septum.annotation.meaning import LabelMeaning
from septum.annotation.pairs import Pair, load_pairs
from septum.annotation.targets import to_target
from septum.evaluation.contingency import Contingency, contingency

DATASET, NUMBER = "Dataset001_Nuclei", 1
NUMBERED = LabelMeaning("instances", (0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--draw", type=int, default=0, help="seed that draws the images")
    parser.add_argument("--minutes", type=float, default=30.0)
    arguments = parser.parse_args()
    learnt, scored = heads.split("dsb")
    learnt = heads.draw(learnt, arguments.images, arguments.draw)
    cores = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("raw", "preprocessed", "results"):  # where nnU-Net looks when imported
            os.environ[f"nnUNet_{name}"] = str(Path(folder) / name)
        write_data_set(Path(folder) / "raw" / DATASET, learnt)
        trainer = prepare_trainer(cores)
        steps, losses = train(trainer, arguments.minutes * 60)
        start = time.monotonic()
        numbers = heads.count(compare(trainer, scored))
        numbers["seconds_scored"] = time.monotonic() - start
    plan = trainer.configuration_manager
    numbers |= {
        "steps": steps,
        "minutes": arguments.minutes,
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "patch": [int(extent) for extent in plan.patch_size],
        "batch": int(plan.batch_size),
        "losses": losses,
        "training_images": len(learnt),
        "scored_images": len(scored),
        "versions": versions(("nnunetv2", "batchgeneratorsv2", "torch")),
    }
    name = f"nnunet-nuclei-{arguments.images}-images-draw-{arguments.draw}"
    command = (
        f"python benchmarks/nnunet_images.py --images {arguments.images} --draw {arguments.draw} "
        f"--minutes {arguments.minutes:g}"
    )
    write_result(name, numbers, command, threads=cores)


def write_data_set(folder: Path, pairs: list[Pair]) -> None:
    """The images and labels as nnU-Net wants them."""
    from nnunetv2.dataset_conversion.generate_dataset_json import generate_dataset_json

    images, labels = folder / "imagesTr", folder / "labelsTr"
    images.mkdir(parents=True)
    labels.mkdir()
    for number, item in enumerate(load_pairs(pairs)):
        classes_S, _ = to_target(item.labels_S, NUMBERED, item.name)
        tifffile.imwrite(images / f"image{number:03d}_0000.tif", grey(item.image_CS))
        tifffile.imwrite(labels / f"image{number:03d}.tif", classes_S)
    generate_dataset_json(
        str(folder),
        channel_names={0: "fluorescence"},
        labels={"background": 0, "nucleus": 1},
        num_training_cases=len(pairs),
        file_ending=".tif",
        overwrite_image_reader_writer="NaturalImage2DIO",
    )


def grey(image_CS: np.ndarray) -> np.ndarray:
    """The one channel of pictures that are grey."""
    image_S: np.ndarray = image_CS[0]
    return image_S


def prepare_trainer(cores: int) -> Any:
    """nnU-Net's plan for these images, and what trains by it, on all of them."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as planning
    from nnunetv2.run.run_training import get_trainer_from_args

    planning.extract_fingerprints([NUMBER], num_processes=cores)
    planning.plan_experiments([NUMBER])
    planning.preprocess([NUMBER], configurations=["2d"], num_processes=[cores])
    trainer = get_trainer_from_args(str(NUMBER), "2d", "all", device=torch.device("cpu"))
    trainer.on_train_start()
    return trainer


def train(trainer: Any, seconds: float) -> tuple[int, list[float]]:
    """Steps until the time is over; how many, and the mean loss of each tenth of the time."""
    steps, start = 0, time.monotonic()
    losses: list[list[float]] = [[] for _ in range(10)]
    trainer.network.train()
    while (share := (time.monotonic() - start) / seconds) < 1:
        for group in trainer.optimizer.param_groups:
            group["lr"] = trainer.initial_lr * (1 - share) ** 0.9
        loss = trainer.train_step(next(trainer.dataloader_train))["loss"]
        losses[int(10 * share)].append(float(loss))
        steps += 1
    for loader in (trainer.dataloader_train, trainer.dataloader_val):
        if hasattr(loader, "_finish"):
            loader._finish()  # its processes
    return steps, [float(np.mean(part)) for part in losses if part]


def compare(trainer: Any, pairs: list[Pair]) -> list[Contingency]:
    """For each image the table of pixels that true objects and connected components share."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    tables = []
    for pair in pairs:
        (item,) = load_pairs([pair])
        image_CZYX = grey(item.image_CS)[None, None].astype(np.float32)
        found_ZYX = predictor.predict_single_npy_array(image_CZYX, {"spacing": (999, 1, 1)})
        segments_YX = skimage.measure.label(found_ZYX[0] == 1, connectivity=1)
        tables.append(contingency(segments_YX, item.labels_S))
    return tables


if __name__ == "__main__":
    main()
