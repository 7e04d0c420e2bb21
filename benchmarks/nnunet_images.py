"""Train nnU-Net's 2D network by its own recipe on a few nuclei images, and score its objects.

    .venv-peers/bin/python benchmarks/nnunet_images.py --images 10 --draw 1 --minutes 30

Beside `python benchmarks/tutorials.py nuclei --images 10 --draw 1`: the same images train (all of
them: nnU-Net keeps none for validation here), on the same cores, and the same images are scored.
nnU-Net analyses and prepares the images, plans its network, augments, and takes its training steps;
preparation is not counted. Only its schedule is ours: its learning rate falls as it always does (a
power of 0.9), but over as many steps as the minutes have room for, by the time that its first steps
take, instead of 1000 epochs of 250 steps, which take days on a processor. So begin it on a machine
that does nothing else; what comes after changes how long the steps take, not how many there are.
Labels are what septum's network learns from, too: background where two nuclei touch. Objects are
the connected components (by faces) of its prediction, at its defaults: steps of half a window,
Gaussian weights, mirrored along both axes.

Resumable: the same command goes on from the last hundred of steps. The result goes to
docs/results/nnunet-nuclei-N-images-draw-D.json.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import skimage.measure
import tifffile
import torch

import heads
from results import ROOT, versions, write_result
from septum.annotation.meaning import LabelMeaning
from septum.annotation.pairs import Pair, load_pairs
from septum.annotation.targets import to_target
from septum.atomic_file import replace_file
from septum.evaluation.contingency import Contingency, contingency

DATASET, NUMBER = "Dataset001_Nuclei", 1
NUMBERED = LabelMeaning("instances", (0, 1))
WARM, TIMED, SAVED_EVERY = 5, 20, 100
"""Steps that begin a run, those after them that are timed, and those between two saves."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--draw", type=int, default=0, help="seed that draws the images")
    parser.add_argument("--minutes", type=float, default=30.0, help="of a machine at rest")
    parser.add_argument("--run", type=Path, help="default: runs/ and the result's name")
    arguments = parser.parse_args()
    name = f"nnunet-nuclei-{arguments.images}-images-draw-{arguments.draw}"
    run = (arguments.run or ROOT / "runs" / name).resolve()
    learnt, scored = heads.split("dsb")
    learnt = heads.draw(learnt, arguments.images, arguments.draw)
    cores = torch.get_num_threads()
    for folder in ("raw", "preprocessed", "results"):  # where nnU-Net looks when imported
        os.environ[f"nnUNet_{folder}"] = str(run / folder)
    trainer = prepare_trainer(run, learnt, cores)
    progress = train(trainer, arguments.minutes * 60, run / "state.pt")
    start = time.monotonic()
    numbers = heads.count(compare(trainer, scored))
    plan, losses = trainer.configuration_manager, progress["losses"]
    numbers |= {
        "seconds_scored": time.monotonic() - start,
        "steps": progress["steps"],
        "minutes": progress["steps"] * progress["seconds_a_step"] / 60,
        "minutes_note": "steps, times what the first ones took on a machine at rest",
        "seconds_a_step": progress["seconds_a_step"],
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "patch": [int(extent) for extent in plan.patch_size],
        "batch": int(plan.batch_size),
        "losses": [float(np.mean(part)) for part in np.array_split(losses, 10)],
        "training_images": len(learnt),
        "scored_images": len(scored),
        "versions": versions(("nnunetv2", "batchgeneratorsv2", "torch")),
    }
    command = (
        f"python benchmarks/nnunet_images.py --images {arguments.images} --draw {arguments.draw} "
        f"--minutes {arguments.minutes:g}"
    )
    write_result(name, numbers, command, threads=progress["threads"])


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


def prepare_trainer(run: Path, learnt: list[Pair], cores: int) -> Any:
    """nnU-Net's plan for these images, and what trains by it, on all of them."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as planning
    from nnunetv2.run.run_training import get_trainer_from_args

    ready = run / "ready"
    if not ready.exists():
        shutil.rmtree(run, ignore_errors=True)
        write_data_set(run / "raw" / DATASET, learnt)
        planning.extract_fingerprints([NUMBER], num_processes=cores)
        planning.plan_experiments([NUMBER])
        planning.preprocess([NUMBER], configurations=["2d"], num_processes=[cores])
        ready.touch()
    trainer = get_trainer_from_args(str(NUMBER), "2d", "all", device=torch.device("cpu"))
    trainer.on_train_start()
    return trainer


def train(trainer: Any, seconds: float, state: Path) -> dict[str, Any]:
    """As many steps as fit into the time; what is known of them, the loss of each among it."""
    progress: dict[str, Any] = {"losses": [], "steps": 0, "seconds_a_step": 0.0}
    if state.exists():
        found = torch.load(state, weights_only=True)
        trainer.network.load_state_dict(found.pop("network"))
        trainer.optimizer.load_state_dict(found.pop("optimizer"))
        progress = found
    losses = progress["losses"]
    trainer.network.train()
    start = time.monotonic()
    while not progress["steps"] or len(losses) < progress["steps"]:
        share = len(losses) / (progress["steps"] or math.inf)
        for group in trainer.optimizer.param_groups:
            group["lr"] = trainer.initial_lr * (1 - share) ** 0.9
        losses.append(float(trainer.train_step(next(trainer.dataloader_train))["loss"]))
        if len(losses) == WARM:
            start = time.monotonic()
        if len(losses) == WARM + TIMED:
            progress["seconds_a_step"] = (time.monotonic() - start) / TIMED
            progress["steps"] = max(round(seconds / progress["seconds_a_step"]), 1)
            progress["threads"] = torch.get_num_threads()
            print(f"{progress['steps']} steps of {progress['seconds_a_step']:.2f} s", flush=True)
        if progress["steps"] and len(losses) % SAVED_EVERY == 0:
            print(f"step {len(losses)}: loss {np.mean(losses[-SAVED_EVERY:]):.4f}", flush=True)
            kept = {"network": trainer.network.state_dict(), **progress}
            with replace_file(state) as temporary:
                torch.save(kept | {"optimizer": trainer.optimizer.state_dict()}, temporary)
    for loader in (trainer.dataloader_train, trainer.dataloader_val):
        if hasattr(loader, "_finish"):
            loader._finish()  # its processes
    return progress


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
