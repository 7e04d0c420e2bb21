"""Whether a training step fits into memory: counted before the first, said where one does not."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.autograd.graph import saved_tensors_hooks

from septum.devices import Ranks, channels_last, choose_dtype
from septum.errors import TrainingError
from septum.memory import available_memory
from septum.model import build_network
from septum.recipe import Network, Recipe
from septum.training.job import Job

SHARE = 0.9
"""Of the memory that is free: what a tile that is offered may take."""

OVERHEAD = 1.25
"""What libraries take for themselves, and gaps between tensors: 1.1 to 1.3 were measured."""

MOST_MAPS, MOST_OUTER, MOST_COPIES = 48, 16, 4
"""No U-Net keeps so many maps of all pixels for each that its first level has, nor so many for each
channel and class, nor its weights so often."""

_WORDS = (
    "not enough memory",
    "can't allocate memory",
    "Cannot allocate memory",
    "could not create a memory object",
    "could not create a primitive",
    "bad_alloc",
    "CUDA error: out of memory",
    "ALLOC_FAILED",  # of cuBLAS and cuDNN
)
"""What torch says where memory is short and it does not raise OutOfMemoryError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python failed for want of memory, of the GPU or of the processor."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def check_memory(job: Job) -> None:
    """Raise TrainingError where the first step would take more memory than is free.

    Most systems promise memory that they do not have, and end the process when it is used.
    """
    if step_bytes(job, tiles_at_once(job), job.recipe.training.tile) > free_memory(job):
        raise explain_out_of_memory(job)


def guarded(work: Callable[[], object], job: Job) -> None:
    """Take a step, or validate; what does not fit into memory becomes a line that says what would.

    Raises TrainingError.
    """
    try:
        work()
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Outside the except clause, where nothing holds on to the step's tensors any more.
    raise explain_out_of_memory(job)


def explain_out_of_memory(job: Job) -> TrainingError:
    """The error to raise: the tile that did not fit, the largest that should, other remedies."""
    section, tiles = job.recipe.training, tiles_at_once(job)
    what = f"step {job.step}: {tiles} tile{'s' * (tiles > 1)} of {section.tile} pixels an axis"
    free = free_memory(job)
    fits = largest_tile(job, tiles, free)
    remedies = []
    if tiles > 1 and step_bytes(job, 1, section.tile) <= SHARE * free:
        remedies.append("--set training.micro_batch=1")
    if fits is not None:
        remedies.append(f"--set training.tile={fits}, the largest that fits now")
    if not remedies:
        remedies.append("a smaller network.width, or a machine with more memory")
    verb = "do" if tiles > 1 else "does"
    where = "in another --out try" if job.run.holds_a_run() else "try"
    return TrainingError(
        f"{what} {verb} not fit into memory ({free / 1e9:.1f} GB are free); {where} "
        f"{', or '.join(remedies)}"
    )


def tiles_at_once(job: Job) -> int:
    """How many tiles this rank holds at once."""
    section = job.recipe.training
    mine = len(job.ranks.share(section.batch))
    return min(section.micro_batch or mine, mine)


def free_memory(job: Job) -> int:
    """Bytes that this process may take more, of the kind of memory that it trains in."""
    return free_bytes(job.device, job.ranks.beside)


def free_bytes(device: torch.device, beside: int = 1) -> int:
    """The same on ``device``, of which so many processes of this machine want a share."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + kept)
    return available_memory() // beside


def fits_memory(
    channels: int, classes: int, device: torch.device, ranks: Ranks
) -> Callable[[Recipe, int], bool]:
    """Whether a step of a recipe fits into what is free now, with so many tiles at once."""
    free = SHARE * free_bytes(device, ranks.beside)

    def fits(recipe: Recipe, tiles: int) -> bool:
        section = recipe.training
        tiles = min(tiles, len(ranks.share(section.batch)))
        dtype = choose_dtype(section.precision, device)
        outer = channels, classes
        if bytes_at_most(recipe.network, outer, dtype, tiles, section.tile) <= free:
            return True
        return count_bytes(recipe, outer, dtype, tiles, section.tile) <= free

    return fits


def bytes_at_most(
    section: Network, outer: tuple[int, int], dtype: torch.dtype, tiles: int, extent: int
) -> float:
    """No less than ``count_bytes``, of a U-Net; infinite of other networks.

    Where this fits nothing need be counted, for which torch loads its compiler: two seconds.
    """
    if section.architecture != "unet":
        return math.inf
    pixels = tiles * extent**section.dimensions
    maps = MOST_MAPS * section.width + MOST_OUTER * sum(outer)
    with torch.device("meta"):
        network = build_network(section, *outer)
    parameters = sum(p.numel() * 4 for p in network.parameters())
    activations = maps * pixels * dtype.itemsize
    return float(OVERHEAD * (activations + MOST_COPIES * parameters))


def largest_tile(job: Job, tiles: int, free: int) -> int | None:
    """The largest legal extent below the recipe's with which ``tiles`` tiles fit, or None."""
    footprint = job.network.footprint
    step = footprint.stride
    longest = max(extent for item in job.data.training for extent in item.extents)
    # A tile larger than all images is its own mirror image.
    most = footprint.legal_at_least(longest + footprint.shrink) + step
    below, above = footprint.minimum - step, min(job.recipe.training.tile, most)
    while above - below > step:
        middle = below + (above - below) // (2 * step) * step
        if step_bytes(job, tiles, middle) <= SHARE * free:
            below = middle
        else:
            above = middle
    return below if below >= footprint.minimum else None


def step_bytes(job: Job, tiles: int, extent: int) -> int:
    """Bytes that a step of ``job`` takes beside the weights; see ``count_bytes``."""
    meaning = job.data.meaning
    channels, classes, begun = job.data.channels, meaning.class_count, bool(job.optimizer.state)
    return count_bytes(job.recipe, (channels, classes), job.dtype, tiles, extent, begun)


def count_bytes(
    recipe: Recipe,
    outer: tuple[int, int],
    dtype: torch.dtype,
    tiles: int,
    extent: int,
    begun: bool = False,
) -> int:
    """Bytes that a step takes beside the weights: counted on a network whose tensors have none.

    ``outer``: channels of the images, and classes. What the layers keep for the way back, a few
    tensors under way, the gradients, and what the optimiser has not made yet (unless the run has
    ``begun``); all times ``OVERHEAD``.
    """
    channels, classes = outer
    with torch.device("meta"):
        network = build_network(recipe.network, channels, classes)
    parameters = sum(p.numel() * 4 for p in network.parameters())
    memory_format = channels_last(network.dimensions)
    network.to(dtype=dtype, memory_format=memory_format)  # type: ignore[call-overload]
    network.score.float()
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    shape = (tiles, channels, *(extent,) * network.dimensions)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        logits_NKS = network(torch.empty(shape, dtype=dtype, device="meta"))
    sizes = [storage.nbytes() for storage in kept.values()]
    copies = 1 if dtype == torch.float32 else 1.5  # gradients, and the weights in bfloat16
    if not begun:
        copies += 1 if recipe.training.optimizer == "sgd" else 2
    loss = 6 * logits_NKS.numel() * 4
    return int(OVERHEAD * (sum(sizes) + 2 * max(sizes) + loss + copies * parameters))
