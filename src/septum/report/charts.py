"""Curves of a run, drawn as SVG with matplotlib, without its global state of figures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

TRAINING, VALIDATION, THIRD = "#0072b2", "#d55e00", "#59626d"
MOST_POINTS = 800
"""Points of a line at most; longer records are averaged, so that a page stays small."""

Records = Sequence[dict[str, Any]]
Line = tuple[np.ndarray, np.ndarray]


def draw_losses(steps: Records, validations: Records, best: dict[str, Any] | None) -> bytes:
    """Training and validation loss over epochs; SVG.

    The training loss is drawn as logged, thin, and as the mean of each epoch, where there are
    three epochs or more; logarithmic where it spans more than a factor of 20.
    """
    figure, axes = _axes("epoch", "loss")
    x, y = _series(steps, "loss")
    per_epoch = _epoch_means(x, y)
    if len(per_epoch[0]) >= 3:
        axes.plot(*_thin(x, y), color=TRAINING, alpha=0.3, linewidth=0.8)
        _line(axes, per_epoch, TRAINING, "training, mean of an epoch")
    elif len(x):
        _line(axes, _thin(x, y), TRAINING, "training")
    x, y = _series(validations, "loss")
    if len(x):
        _line(axes, (x, y), VALIDATION, "validation", "o")
    return _finish(figure, axes, 20, best)


def draw_errors(validations: Records, best: dict[str, Any] | None) -> bytes:
    """Pixel error, and of Rand error and object error what there is, over epochs; SVG."""
    figure, axes = _axes("epoch", "error on validation images")
    lines = (
        ("pixel_error", TRAINING, "o"),
        ("rand_error", VALIDATION, "s"),
        ("object_error", THIRD, "^"),
    )
    for key, colour, marker in lines:
        x, y = _series(validations, key)
        if len(x):
            _line(axes, (x, y), colour, key.replace("_", " ").capitalize(), marker)
    return _finish(figure, axes, 10, best)


def draw_folds(folds: Sequence[Records], key: str) -> bytes:
    """One measure of the validations of several runs over their steps; SVG."""
    figure, axes = _axes("step", key.replace("_", " "))
    for number, records in enumerate(folds):
        points = [(r["step"], r[key]) for r in records if np.isfinite(r.get(key, np.nan))]
        colour = f"C{number % 10}"
        x, y = np.array(points, float).reshape(-1, 2).T
        _line(axes, (x, y), colour, f"fold {number}")
        kept = [r for r in records if r["best"]][-1:]
        axes.plot([r["step"] for r in kept], [r[key] for r in kept], "o", color=colour)
    return _finish(figure, axes, 20, None)


def draw_rates(steps: Records) -> bytes:
    """The learning rate over steps; SVG."""
    figure, axes = _axes("step", "learning rate", (5.4, 2.1))
    points = [(r["step"], r["learning_rate"]) for r in steps if r.get("learning_rate", 0) > 0]
    if points:
        x, y = np.array(points, float).T
        _line(axes, _thin(x, y), THIRD, "")
    return _finish(figure, axes, np.inf, None)


def draw_histograms(
    bars: Sequence[tuple[Sequence[float], Sequence[float], str]], x: str, y: str, logarithmic: bool
) -> bytes:
    """Heights between neighbouring edges (edges, heights, label), over each other; SVG.

    ``logarithmic``: x is; its edges are above 0.
    """
    figure, axes = _axes(x, y)
    colours = (TRAINING,) if len(bars) == 1 else (VALIDATION, "#009e73", TRAINING, THIRD)
    for (edges, heights, label), colour in zip(bars, colours, strict=False):
        fill = len(bars) == 1
        axes.stairs(heights, edges, color=colour, fill=fill, linewidth=1.4, label=label or None)
    if logarithmic:
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=0)
    if any(label for _, _, label in bars):
        axes.legend(fontsize=10, frameon=False, loc="best")
    return _svg(figure)


def _axes(x: str, y: str, size: tuple[float, float] = (5.4, 3.5)) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x, fontsize=11)
    axes.set_ylabel(y, fontsize=11)
    axes.tick_params(labelsize=10.5, colors="#59626d", length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b8c0c9")
    axes.grid(axis="y", color="#e6eaee", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _line(axes: Any, xy: Line, colour: str, label: str, marker: str = "") -> None:
    crowded = len(xy[0]) > 40
    lone = len(xy[0]) == 1  # a line of one point is not seen
    mark = "" if crowded else marker or ("o" if lone else "")
    axes.plot(*xy, color=colour, linewidth=1.8, marker=mark or None, markersize=4.5, label=label)


def _finish(figure: Any, axes: Any, span: float, best: dict[str, Any] | None) -> bytes:
    """Choose the scale, mark the best step, add the legend, write.

    Logarithmic where the values are above 0 and span more than a factor of ``span``.
    """
    drawn = [np.asarray(line.get_ydata(), float) for line in axes.lines]
    values = np.concatenate([*drawn, np.ones(0 if drawn else 1)])
    positive = values[values > 0]
    if len(positive) == len(values) > 4 and values.max() > span * values.min():
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)
    furthest = max((float(np.max(line.get_xdata())) for line in axes.lines), default=1.0)
    axes.set_xlim(0, 1.03 * furthest)
    if best is not None:
        axes.axvline(
            best["epoch"],
            color=THIRD,
            linewidth=1.1,
            linestyle=(0, (4, 3)),
            zorder=0.5,
            label=f"model kept (step {best['step']})",
        )
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=10, frameon=False, loc="best")
    return _svg(figure)


def _svg(figure: Any) -> bytes:
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "septum"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _series(records: Records, key: str) -> Line:
    """Epochs and finite values of a key."""
    points = [
        (record["epoch"], record[key])
        for record in records
        if key in record and np.isfinite(record[key])
    ]
    x, y = np.array(points, float).reshape(-1, 2).T
    return x, y


def _epoch_means(x: np.ndarray, y: np.ndarray) -> Line:
    """The mean of the values logged in each epoch, placed at the end of what was logged of it."""
    if not len(x):
        return x, y
    epoch = np.ceil(x - 1e-9).astype(int)
    each = np.unique(epoch)
    mean = np.array([y[epoch == number].mean() for number in each])
    return _thin(np.minimum(each, x.max()).astype(float), mean)


def _thin(x: np.ndarray, y: np.ndarray) -> Line:
    size = -(-len(x) // MOST_POINTS)
    if size <= 1:
        return x, y
    starts = np.arange(0, len(x), size)
    counts = np.diff(np.append(starts, len(x)))
    return np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts
