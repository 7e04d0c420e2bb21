"""Each peer, set to the augmentation that septum's is measured with. A builder returns the call.

A peer is imported in its builder: one that is not installed is named as missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Builder = Callable[[np.ndarray, np.ndarray], Callable[[], Any]]


def elasticdeform_order(order: int) -> Builder:
    """elasticdeform: field and rotation in one resampling; grey values and flips by NumPy."""

    def build(image: np.ndarray, classes: np.ndarray) -> Callable[[], Any]:
        import elasticdeform

        rng = np.random.default_rng(0)

        def call() -> Any:
            field = rng.normal(0, 10, (2, 3, 3)) + rng.uniform(-10, 10, (2, 1, 1))
            warped = elasticdeform.deform_grid(
                [image, classes], field, order=[order, 0], mode="mirror", rotate=rng.uniform(0, 360)
            )
            return _grey_values_and_flips(*warped, rng)

        return call

    return build


def _grey_values_and_flips(
    image: np.ndarray, classes: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    image = image * np.float32(rng.uniform(0.75, 1.25)) + np.float32(rng.uniform(-0.1, 0.1))
    np.clip(image, 0, 1, out=image)
    image = image ** np.float32(rng.uniform(0.7, 1.5))
    for axis in (0, 1):
        if rng.random() < 0.5:
            image, classes = np.flip(image, axis), np.flip(classes, axis)
    return np.ascontiguousarray(image), np.ascontiguousarray(classes)


def monai(image: np.ndarray, classes: np.ndarray) -> Callable[[], Any]:
    """MONAI: rotation and shift are arguments of its elastic deformation, one resampling."""
    from monai.transforms import Compose, Rand2DElasticd, RandAdjustContrastd, RandFlipd

    keys = ["image", "label"]
    transform = Compose(
        [
            Rand2DElasticd(
                keys,
                spacing=(256, 256),
                magnitude_range=(10, 10),
                prob=1,
                rotate_range=math.pi,
                translate_range=10,
                mode=("bilinear", "nearest"),
                padding_mode="reflection",
            ),
            RandAdjustContrastd("image", prob=1, gamma=(0.7, 1.5)),
            RandFlipd(keys, 0.5, 0),
            RandFlipd(keys, 0.5, 1),
        ]
    )
    data = {"image": torch.from_numpy(image)[None], "label": torch.from_numpy(classes)[None]}
    return lambda: transform(data)


def torchio(image: np.ndarray, classes: np.ndarray) -> Callable[[], Any]:
    """TorchIO: the image is a volume of one slice; affine and elastic map are two resamplings."""
    import SimpleITK
    import torchio as tio

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    transform = tio.Compose(
        [
            tio.RandomAffine(
                scales=0, degrees=(0, 0, 0, 0, -180, 180), translation=(-10, 10, -10, 10, 0, 0)
            ),
            tio.RandomElasticDeformation(
                num_control_points=(5, 5, 4), max_displacement=(20, 20, 0), locked_borders=0
            ),
            tio.RandomGamma((-0.3, 0.3)),
            tio.RandomFlip((0, 1)),
        ]
    )
    subject = tio.Subject(
        image=tio.ScalarImage(tensor=torch.from_numpy(image)[None, ..., None]),
        label=tio.LabelMap(tensor=torch.from_numpy(classes)[None, ..., None]),
    )
    return lambda: transform(subject)


def batchgenerators(image: np.ndarray, classes: np.ndarray) -> Callable[[], Any]:
    """batchgeneratorsv2 (nnU-Net's): elastic field and rotation in one resampling."""
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms

    spatial = SpatialTransform(
        image.shape,
        0,
        False,
        p_elastic_deform=1,
        elastic_deform_scale=(0.1, 0.25),
        elastic_deform_magnitude=(10, 30),
        p_rotation=1,
        rotation=(0, 2 * math.pi),
        bg_style_seg_sampling=False,
        mode_seg="nearest",
        padding_mode_image="reflection",
        border_mode_seg="reflection",
    )
    transform = ComposeTransforms(
        [
            spatial,
            MultiplicativeBrightnessTransform((0.75, 1.25), False, 1),
            GammaTransform((0.7, 1.5), 0, False, 1, 1),
            MirrorTransform((0, 1)),
        ]
    )
    image_CS = torch.from_numpy(image)[None]
    classes_CS = torch.from_numpy(classes.astype(np.int16))[None]
    return lambda: transform(image=image_CS.clone(), segmentation=classes_CS.clone())


def albumentations(image: np.ndarray, classes: np.ndarray) -> Callable[[], Any]:
    """Albumentations: its cheapest elastic map, GridElasticDeform, after its affine one."""
    import albumentations as A
    import cv2

    cv2.setNumThreads(1)
    transform = A.Compose(
        [
            A.Affine(
                translate_px=(-10, 10),
                rotate=(-180, 180),
                border_mode=cv2.BORDER_REFLECT_101,
                p=1,
            ),
            A.GridElasticDeform(num_grid_xy=(3, 3), magnitude=10, p=1),
            A.RandomBrightnessContrast(p=1),
            A.RandomGamma(p=1),
            A.HorizontalFlip(p=0.5),
            A.VerticalFlip(p=0.5),
        ]
    )
    return lambda: transform(image=image, mask=classes)


PEERS: dict[str, Builder] = {
    "elasticdeform, order 3": elasticdeform_order(3),
    "elasticdeform, order 1": elasticdeform_order(1),
    "MONAI Rand2DElastic": monai,
    "TorchIO": torchio,
    "batchgeneratorsv2": batchgenerators,
    "Albumentations": albumentations,
}
