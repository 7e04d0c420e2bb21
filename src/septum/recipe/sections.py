"""What to do, as small frozen sections. A stage takes its own, none takes the whole tree."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Colour = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]


class Section(BaseModel):
    """A part of a recipe: immutable, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Labels(Section):
    """What the values of a label image mean."""

    kind: Literal["auto", "binary", "classes", "overlapping", "instances"] = "auto"
    """`auto` looks at all label images and says in words what it took them for. `overlapping`
    classes are not guessed from pixels: one mask each, in files of their own or along axis C of the
    label image; they are taken for that where `network.head` is `sigmoid` and each has its file."""
    names: tuple[str, ...] = ()
    """Of the classes, the background's first (there is none in the masks of overlapping classes):
    for the channels of a prediction, and its table of objects."""
    object: Literal["nonzero", "zero"] | int | Colour = "nonzero"
    """For binary labels: which pixels are the object. An integer, or a colour such as "#ff0000",
    means: exactly this value."""
    ignore: int | Colour | tuple[int | Colour, ...] | None = None
    """Pixels of this value or colour, or of these, carry no gradient and are left out of every
    score."""
    unlabelled: Literal["background", "ignore"] = "background"
    """`ignore` where not everything was annotated: value 0, or where nothing was drawn, is
    unknown. Of numbered objects what is beside them, as wide as half their radius, is background,
    and all beyond counts little as background in training, and in no score (decision 29)."""
    strays: Literal["refuse", "ignore", "keep"] = "refuse"
    """Values of so few pixels that they are no class, and those of smoothed edges, between two
    classes: an error, or ignored, or classes."""
    classes: tuple[str, ...] = ()
    """Of what has names (classes of QuPath and COCO, a mask a class): the classes, numbered from 1
    in this order; where they overlap, the later has the pixel. Others are left out."""


class Validation(Section):
    """Which annotated images are kept from training. The first of these that is set counts."""

    names: tuple[str, ...] = ()
    """Names, or indices counted from 0 (as strings), of the validation images."""
    last: Annotated[int, Field(ge=0)] = 0
    """The last N images, in the order of their names."""
    folds: Annotated[int, Field(ge=0)] = 0
    """Deal all images into this many folds and validate on number `fold`."""
    fold: Annotated[int, Field(ge=0)] = 0
    fraction: Fraction = 0.1
    """This share, chosen by a hash of the names: adding images later moves none of the old ones."""

    @model_validator(mode="after")
    def _fold_exists(self) -> Validation:
        if self.folds == 1 or (self.folds and self.fold >= self.folds):
            raise ValueError(f"fold {self.fold} of {self.folds} folds does not exist; folds >= 2")
        return self


class Intensity(Section):
    """How grey values are brought to a common range."""

    method: Literal["zscore", "percentile", "none"] = "zscore"
    """`zscore`: mean 0, standard deviation 1; `percentile`: 0 and 1 at the two percentiles."""
    scope: Literal["set", "image"] = "set"
    """`set`: one range for all images, fitted on those that train; `image`: each image has its own,
    whatever its exposure was."""
    low_percentile: Annotated[float, Field(ge=0.0, lt=100.0)] = 1.0
    high_percentile: Annotated[float, Field(gt=0.0, le=100.0)] = 99.8


class Augment(Section):
    """Random changes of a training tile. Lengths in pixels, angles in degrees."""

    shift: bool = True
    """Draw the tile's centre anywhere in the image; otherwise tiles are centred in the image."""
    rotation: Annotated[float, Field(ge=0.0, le=180.0)] = 180.0
    """Largest angle to either side, in the image plane."""
    flip: bool = True
    """Mirror each spatial axis with probability 1/2."""
    elastic_sigma: NonNegative = 10.0
    """Standard deviation of the displacement at each node of the coarse grid; 0 turns it off."""
    elastic_grid: Annotated[int, Field(ge=2)] = 3
    """Nodes an axis (Ronneberger et al. 2015, section 3.1: 3 by 3)."""
    elastic_span: NonNegative = 512.0
    """The grid spans this, or the tile if that is larger: small tiles bend no more than large."""
    interpolation: Literal["linear", "cubic"] = "linear"
    """How the image is resampled. Labels always take the nearest pixel."""
    brightness: NonNegative = 0.0
    """Added: uniform within ± this, in standard deviations of the normalised image."""
    contrast: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Factor: uniform within 1 ± this."""
    gamma: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Exponent on the tile's own range: log-uniform within 1/(1 - this) and 1 - this."""
    channels: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Of images of several channels, each by itself: a factor uniform within 1 ± this, and added,
    uniform within ± this, in standard deviations of the channel in the tile. Stains and lamps
    differ."""
    noise: NonNegative = 0.0
    """Gaussian noise: its standard deviation is drawn from 0 up to this, in those of the image."""


_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "unet": {"patch": 95},
    "fcn-8s": {
        **{"dimensions": 2, "depth": 5, "padding": "same", "normalization": "none"},
        **{"up": "linear", "patch": 95, "reduction": 1},
    },
    "sliding-window": {
        **{"dimensions": 2, "depth": 4, "padding": "valid", "normalization": "none"},
        **{"up": "convolution", "width": 48, "dropout": 0.0, "reduction": 1},
    },
}
"""What each has where the recipe says nothing, and but for `width` and `dropout` has always."""


class Network(Section):
    """Which network, and how large. The defaults are figure 1 of Ronneberger et al. 2015."""

    architecture: Literal["unet", "fcn-8s", "sliding-window"] = "unet"
    """`fcn-8s` (Long et al. 2015) and `sliding-window` (Ciresan et al. 2012) are baselines: 2D, and
    only `width`, `dropout`, `head` and, of the latter, `patch` can be chosen."""
    dimensions: Literal[2, 3] = 2
    width: Positive = 64
    """Channels of the first level; each level below has twice as many (`sliding-window`: as many).
    """
    depth: Annotated[int, Field(ge=1, le=8)] = 4
    """Number of poolings."""
    reduction: Annotated[int, Field(ge=1, le=8)] = 1
    """Large objects: the network works on images of so many times fewer pixels an axis, whose
    channels are the pixels of a block, and gives the scores of a block's pixels as channels."""
    padding: Literal["valid", "same"] = "valid"
    """`valid`: the paper's unpadded convolutions, the output is smaller than the input;
    `same`: convolutions padded by 1 with zeros."""
    normalization: Literal["none", "batch"] = "none"
    up: Literal["convolution", "linear"] = "convolution"
    """2-wide up-convolution (the paper), or linear interpolation and a 1-wide convolution."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    """After the two deepest levels of the contracting path, in training only."""
    head: Literal["softmax", "sigmoid", "border", "distance"] = "softmax"
    """`softmax`: one output channel a class; `sigmoid`: one for each class but the background, on
    its own, for two classes and for overlapping ones. For objects that touch: `border`, three
    classes, background, interior and border of objects; `distance`, the object's probability, and
    how far a pixel is from its edge. Objects then keep the pixels where they touch."""
    patch: Literal[95, 65] = 95
    """Of `sliding-window`: pixels an axis of what a pixel's class is told by. Train on tiles of as
    many (`training.tile`)."""

    @model_validator(mode="before")
    @classmethod
    def _as_its_architecture_is(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {**_ARCHITECTURES.get(str(given.get("architecture", "unet")), {}), **given}

    @model_validator(mode="after")
    def _architecture_has_what_is_asked(self) -> Network:
        name, own = self.architecture, _ARCHITECTURES[self.architecture]
        fixed = {key: own[key] for key in own if key not in ("width", "dropout")}
        wrong = [key for key in fixed if getattr(self, key) != fixed[key]]
        if wrong:
            asked = ", ".join(f"{key} = {getattr(self, key)!r}" for key in wrong)
            mended = " ".join(f"--set network.{key}={fixed[key]}" for key in wrong)
            recipe = "sliding-window" if name == "unet" else name
            raise ValueError(
                f"{asked} cannot be had with architecture = {name!r}; {mended}, or begin with "
                f"--recipe {recipe}"
            )
        return self


class Loss(Section):
    """Pixel-wise loss; weights multiply cross entropy, Dice has none."""

    kind: Literal["cross_entropy", "cross_entropy_dice", "dice"] = "cross_entropy"
    class_weight: Literal["none", "balanced"] = "none"
    """`balanced`: w_c, so that every class has the same share of the total weight."""
    border_weight: NonNegative = 10.0
    """w0 of the separation border's weight; 0 turns it off."""
    border_sigma: Annotated[float, Field(gt=0.0)] = 5.0
    """σ of the separation border's weight, in pixels."""


class Training(Section):
    """Steps, optimiser, schedule, precision."""

    steps: Annotated[int, Field(ge=0)] = 0
    """Optimiser steps; 0 means: count in `epochs`."""
    epochs: Annotated[int, Field(ge=0)] = 0
    """Passes over the training images (an image is one sample), if `steps` is 0."""
    batch: Positive = 1
    """Tiles an optimiser step, over all ranks together: a run is the same on any number of them."""
    micro_batch: Annotated[int, Field(ge=0)] = 0
    """Tiles in memory at once; gradients are summed over the batch. 0: the whole batch. Batch
    normalisation sees the tiles in memory."""
    tile: Positive = 572
    """Input extent of a training tile, the same along each axis."""
    object_share: Fraction = 0.0
    """Share of the tiles that are drawn around an object of their image, each class that is in it
    as often as the others and small objects as often as large; the rest is drawn anywhere. Needs
    `augment.shift`."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0.0)] = 0.001
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    weight_decay: NonNegative = 0.0
    schedule: Literal["constant", "step", "cosine"] = "constant"
    step_epochs: Positive = 30
    """With `schedule = "step"`: multiply the learning rate by `step_factor` this often."""
    step_factor: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    weight_average: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decay of a running mean of the weights, which is then what is validated and kept."""
    validate_every: Annotated[int, Field(ge=0)] = 0
    """Steps between validations; 0 means: after each epoch."""
    patience: Annotated[int, Field(ge=0)] = 0
    """After so many validations in a row without a better one the learning rate falls to 0 until
    the second validation after, where training ends; 0: never."""
    keep_best: Literal["loss", "pixel_error", "iou_error", "rand_error", "object_error"] = "loss"
    """The validation measure by which the best model is kept; lower is better. `iou_error`: 1 −
    mean IoU of all classes, over the pixels of all images. `object_error`, of numbered labels: 1 −
    mean average precision of the objects, up to an IoU of 0.9. The last model is kept where its
    learning rate has fallen to 0 and it is at most a tenth worse than the best."""
    threshold: Literal["half", "rand", "iou", "objects", "auto"] = "half"
    """`half`: an object pixel has probability above 0.5; `rand`: the threshold with the smallest
    Rand error on training images is stored in the model (two classes), which keeps walls; `iou`:
    that with the best mask of validation images (two classes); `objects`: threshold, seeds
    and smallest object are those with the best objects in validation images (numbered labels);
    `auto`: `objects` for numbered labels, else `rand`."""
    seed: Annotated[int, Field(ge=0)] = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 arithmetic where the processor has it, float32 otherwise."""
    save_seconds: NonNegative = 30.0
    """Least time between two saves of the resume state; the end always saves."""

    @model_validator(mode="after")
    def _has_an_end(self) -> Training:
        if self.steps == 0 and self.epochs == 0:
            raise ValueError("training.steps or training.epochs must be above 0")
        return self


class Prediction(Section):
    """How a trained model is applied."""

    tile: Annotated[int, Field(ge=0)] = 0
    """Input extent of a tile; 0 chooses one by the network's context. No effect on the result."""
    orientations: Literal[1, 8] = 1
    """Mean over this many orientations of the input; 8: all rotations by 90° and mirror images."""


class Recipe(Section):
    """The whole tree; only the command line and the training story see it."""

    name: str = "custom"
    labels: Labels = Labels()
    validation: Validation = Validation()
    intensity: Intensity = Intensity()
    augment: Augment = Augment()
    network: Network = Network()
    loss: Loss = Loss()
    training: Training = Training(steps=1000)
    prediction: Prediction = Prediction()

    @model_validator(mode="after")
    def _distances_are_learnt_by_entropy(self) -> Recipe:
        if self.network.head == "distance" and self.loss.kind == "dice":
            raise ValueError(
                "loss.kind = 'dice' compares classes, and network.head = 'distance' has a map of "
                "distances; use --set loss.kind=cross_entropy"
            )
        return self

    @model_validator(mode="after")
    def _objects_are_sought_by_shifting(self) -> Recipe:
        if self.training.object_share and not self.augment.shift:
            raise ValueError("training.object_share needs augment.shift = true")
        return self
