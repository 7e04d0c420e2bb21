"""How objects are told apart: the choices alone, without what numbers them."""

from __future__ import annotations

from dataclasses import dataclass

from septum.errors import InputError
from septum.network.heads import Maps


@dataclass(frozen=True)
class Separation:
    """What is an object, and where one ends and the next begins; see
    `septum.prediction.instances.label_objects`.

    Raises InputError for a value out of its range.
    """

    threshold: float = 0.5
    """With two classes, a pixel is object if p(1) > threshold; in [0, 1], unused with more."""
    seeds: float | None = None
    """Where p of the object's class, or its core, exceeds this, in [0, 1], lie the seeds that
    divide it."""
    minimum: int = 0
    """Parts of a divided object of fewer pixels are joined with others of it; objects of fewer are
    removed."""
    fill: int = 0
    """Holes of at most so many pixels are filled."""
    maps: Maps = "classes"
    """What the maps are: with ``core``, the third is what ``seeds`` and watershed go by."""

    def __post_init__(self) -> None:
        for name, share in (("threshold", self.threshold), ("seeds", self.seeds)):
            if share is not None and not 0 <= share <= 1:
                raise InputError(f"{name} = {share} is not a probability; use a value from 0 to 1")
        for name, pixels in (("minimum", self.minimum), ("fill", self.fill)):
            if pixels < 0:
                raise InputError(f"{name} = {pixels} is not a number of pixels; use 0 or more")

    def describe(self) -> str:
        """As the command line names them."""
        seeds = "none" if self.seeds is None else f"{self.seeds:g}"
        return (
            f"threshold {self.threshold:g}, seeds {seeds}, minimum {self.minimum}, fill {self.fill}"
        )

    def check_classes(self, count: int) -> None:
        """Raise InputError for ``seeds`` that cannot divide an object where there are two."""
        if count != 2 or self.maps == "core" or self.seeds is None:
            return
        if self.seeds <= self.threshold:
            raise InputError(
                f"seeds = {self.seeds} would divide no object; use a value above the threshold, "
                f"{self.threshold}"
            )
