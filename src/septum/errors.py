"""What can go wrong, and whose mistake it was.

    SeptumError                     one line for the user; ``exit_status`` for the shell
    ├── UserError                   2: the user can mend it
    │   ├── InputError              a path is missing, unreadable, or not what it should be
    │   │   ├── ImageFileError      an image file cannot be read or has unusable pixels
    │   │   └── AnnotationError     labels do not fit their images, or mean nothing
    │   ├── RecipeError             unknown key, value out of range, choices that exclude each other
    │   │   └── TileSizeError       a tile that the network cannot take
    │   ├── ModelFileError          not a model of ours, or of a format not known here
    │   ├── RunFolderError          the output folder is in use, incomplete, or of another recipe
    │   └── SaveError               the disk is full or the folder cannot be written
    ├── TrainingError               1: the computation itself failed (a loss that is not finite)
    │   └── RankError               1: another rank of this run has ended
    └── Interrupted                 130: Ctrl-C; everything is saved

A message says what is wrong, in which file, what was expected, and what mends it, in one line.
"""

from __future__ import annotations


class SeptumError(Exception):
    """Root of all errors raised on purpose."""

    exit_status = 1


class UserError(SeptumError):
    """Something that the user gave cannot be used as it is."""

    exit_status = 2


class InputError(UserError):
    """A path is missing, unreadable, or not what was expected."""


class ImageFileError(InputError):
    """An image file cannot be read, or its pixels cannot be used."""


class AnnotationError(InputError):
    """Labels do not fit their images, or carry no usable meaning."""


class RecipeError(UserError):
    """A recipe has an unknown key, a value out of range, or choices that exclude each other."""


class TileSizeError(RecipeError):
    """A tile extent that the network cannot take; the message offers the nearest legal ones."""


class ModelFileError(UserError):
    """A model file that is not ours, or of a format version not known here."""


class RunFolderError(UserError):
    """A run's folder is in use already, incomplete, or belongs to another recipe."""


class SaveError(UserError):
    """A file could not be written; what stood there before is untouched."""


class TrainingError(SeptumError):
    """Training cannot go on; the last good model is kept."""


class RankError(TrainingError):
    """Another of the processes that train together has ended."""


class Interrupted(SeptumError):  # noqa: N818 (not an error, a wish)
    """The user stopped a run; its state is saved."""

    exit_status = 130
