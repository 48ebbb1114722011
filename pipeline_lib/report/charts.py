"""Charts as SVG: positions in percent of a plot that grows with the page, sizes of text and marks in pixels.

Colours come from the page's style sheet by class, so that light, dark and print share one drawing. Every text goes
through Markup's formatting, which escapes it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

TICKS = 5
LINES = 7  # styles of lines in page.css
LINE_HEIGHT = 15  # px between two labels
SHAPES = (
    "M0-4A4 4 0 1 1 0 4A4 4 0 1 1 0-4Z",  # circle
    "M-3.5-3.5H3.5V3.5H-3.5Z",  # square
    "M0-5L4.5 3.5H-4.5Z",  # triangle
    "M0-5L5 0L0 5L-5 0Z",  # diamond
    "M0 5L4.5-3.5H-4.5Z",  # triangle on its tip
)
OUTCOME_SHAPES = {
    "helped": "M0-7L7 6H-7Z",
    "harmed": "M0 7L7-6H-7Z",
    "unclear": "M0-6L6 0L0 6L-6 0Z",
    "mixed": "M0-8L6-1.5H-6ZM0 8L6 1.5H-6Z",
    "not_measurable": "M0-6A6 6 0 1 1 0 6A6 6 0 1 1 0-6ZM0-3.5A3.5 3.5 0 1 0 0 3.5A3.5 3.5 0 1 0 0-3.5Z",
}

# The signs of what lies beyond the low and the high end of an axis.
_BEYOND = {True: "M0 0L9-6V6Z", False: "M0 0L-9-6V6Z"}


@dataclass(frozen=True)
class Axis:
    """A scale from values to percent; ``ticks`` are the values that are written beside it."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Return where ``value`` lies, in percent from the low end."""
        scale = math.log if self.log else float
        low, high = scale(self.low), scale(self.high)
        return round(100 * (scale(value) - low) / (high - low), 2)

    def clip(self, value: float) -> float:
        """Return ``value``, or the end of the axis that it lies beyond."""
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Series:
    """One line of a chart: ``y`` against ``x``, with a band from ``low`` to ``high`` where there is one.

    ``hollow`` says which of its marks are drawn as outlines; ``plain`` is a dashed line without marks, to compare with.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    hollow: Sequence[bool] = ()
    plain: bool = False

    def style(self, index: int) -> str:
        """Return the class that page.css draws the line at ``index`` by."""
        return "base" if self.plain else f"s{index % LINES}"


def linear_axis(values: Iterable[float]) -> Axis:
    """Return an axis with round ticks that holds all finite ``values``."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if high - low < 1e-12 * max(abs(low), abs(high), 1e-300):
        margin = abs(low) / 2 or 0.5
        low, high = low - margin, high + margin
    rough = (high - low) / (TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(index * step, 12) for index in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def tight_axis(values: Iterable[float]) -> Axis:
    """Return an axis that ends where the ``values`` end, for what is counted off, such as epochs."""
    known = list(values)
    round_axis = linear_axis(known)
    low, high = min(known), max(known)
    return Axis(low, high, tuple(t for t in round_axis.ticks if low <= t <= high)) if high > low else round_axis


def log_axis(values: Iterable[float]) -> Axis:
    """Return a logarithmic axis whose ticks are the distinct ``values`` (all above 0) themselves."""
    ticks = tuple(sorted(set(values)))
    return (
        Axis(ticks[0], ticks[-1], ticks, log=True) if len(ticks) > 1 else Axis(ticks[0] / 2, ticks[0] * 2, ticks, True)
    )


def short(value: float) -> str:
    """Return a number as a tick is labelled: few digits, a real minus sign."""
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}").replace("e+0", "e")


def icon(outcome: str) -> Markup:
    """Return the sign of an outcome, a shape of its own so that colour is not needed to tell it."""
    return Markup('<svg class="icon {0}" viewBox="-8 -8 16 16" aria-hidden="true"><path d="{1}"/></svg>').format(
        outcome, OUTCOME_SHAPES[outcome]
    )


def forest_row(axis: Axis, gain: float | None, low: float | None, high: float | None, outcome: str) -> Markup:
    """Return one row of a forest plot: the gain's sign on its interval, over the grid of the common ``axis``.

    What lies beyond the axis is drawn at its end, as an arrow.
    """
    zero = axis.at(0)
    grid = each('<line class="grid" x1="{0}%" x2="{0}%" y1="0" y2="100%"/>', ((axis.at(t),) for t in axis.ticks))
    marks = Markup("")
    if gain is not None:
        if low is not None and high is not None:
            marks += Markup('<line class="interval" x1="{}%" x2="{}%" y1="50%" y2="50%"/>').format(
                axis.at(axis.clip(low)), axis.at(axis.clip(high))
            )
            ends = ((axis.at(end),) for end in (low, high) if axis.clip(end) == end)
            marks += each('<svg x="{}%" y="50%"><path class="interval" d="M0-5V5"/></svg>', ends)
        at = axis.clip(gain)
        marks += _mark(axis.at(at), 50, OUTCOME_SHAPES[outcome] if at == gain else _BEYOND[at > gain], "mark")
    return Markup(
        '<svg class="forest {outcome}" aria-hidden="true"><rect class="worse" width="{zero}%" height="100%"/>'
        '{grid}<line class="zero" x1="{zero}%" x2="{zero}%" y1="0" y2="100%"/>{marks}</svg>'
    ).format(outcome=outcome, zero=zero, grid=grid, marks=marks)


def forest_axis(axis: Axis, scale: float = 100) -> Markup:
    """Return the tick labels under a forest plot, the values multiplied by ``scale``."""
    labels = ((axis.at(tick), "+" if tick > 0 else "", short(round(tick * scale, 6))) for tick in axis.ticks)
    texts = each('<text x="{}%" y="12">{}{}</text>', labels)
    return Markup('<svg class="forest-axis" aria-hidden="true">{}</svg>').format(texts)


def line_chart(
    label: str,
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    height: int,
    x_label: str = "",
    marks: bool = False,
    names: bool = True,
) -> Markup:
    """Return lines with bands over two axes; ``label`` is what a screen reader says.

    ``height`` is in px; ``marks`` draws a shape at each value; ``names`` writes each line's name at its end.
    """
    # Stretched to the plot: within it 100 x 100 units, while strokes keep their width.
    bands = each(
        '<polygon class="band {}" points="{}"/>',
        (
            (line.style(index), _points([*line.x, *reversed(line.x)], [*line.high, *reversed(line.low)], x, y))
            for index, line in enumerate(series)
            if line.low and line.high
        ),
    )
    lines = each(
        '<polyline class="line {}" points="{}"/>',
        ((line.style(index), _points(line.x, line.y, x, y)) for index, line in enumerate(series)),
    )
    drawn = Markup("").join(
        _mark(
            x.at(a),
            100 - y.at(b),
            SHAPES[index % len(SHAPES)],
            f"{'hollow' if number < len(line.hollow) and line.hollow[number] else 'dot'} {line.style(index)}",
            f"{line.name}: {b:.3f} at {a:g}",
        )
        for index, line in enumerate(series)
        for number, (a, b) in enumerate(zip(line.x, line.y, strict=True))
        if marks and not line.plain and math.isfinite(b)
    )
    return Markup(
        '<svg class="chart{named}" style="height:{height}px" role="img" aria-label="{label}">{grid}'
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none">{bands}{lines}</svg>{drawn}{names}</svg>'
    ).format(
        named=" named" if names else "",
        height=height,
        label=label,
        grid=grid(x, y, x_label),
        bands=bands,
        lines=lines,
        drawn=drawn,
        names=_end_labels(series, y, height) if names else "",
    )


def grid(x: Axis, y: Axis, x_label: str) -> Markup:
    """Return the horizontal lines of a chart and what is written beside its axes."""
    rows = each(
        '<line class="grid" x1="0" x2="100%" y1="{0}%" y2="{0}%"/>'
        '<text class="y" x="-8" y="{0}%" dy=".35em">{1}</text>',
        ((100 - y.at(tick), short(tick)) for tick in y.ticks),
    )
    columns = each(
        '<text class="x" x="{}%" y="100%" dy="1.5em">{}</text>', ((x.at(tick), short(tick)) for tick in x.ticks)
    )
    label = Markup('<text class="label" x="100%" y="100%" dy="2.9em">{}</text>').format(x_label)
    return rows + columns + label


def _end_labels(series: Sequence[Series], y: Axis, height: int) -> Markup:
    """Write each line's name beside its last value, moved apart so that none covers another."""
    ends = [
        (index, line.name, next((v for v in reversed(line.y) if math.isfinite(v)), None))
        for index, line in enumerate(series)
    ]
    placed = sorted(((100 - y.at(v)) * height / 100, index, name) for index, name, v in ends if v is not None)
    positions: list[float] = []
    for wanted, _, _ in placed:
        positions.append(max(wanted, positions[-1] + LINE_HEIGHT) if positions else wanted)
    # What was pushed below the plot goes back up, together with whatever it then meets.
    limit = height + LINE_HEIGHT / 2
    for row in reversed(range(len(positions))):
        positions[row] = min(positions[row], limit)
        limit = positions[row] - LINE_HEIGHT
    return each(
        '<text class="name {}" x="100%" dx="12" y="{}" dy=".35em">{}</text>',
        (
            (series[index].style(index), round(at, 1), name)
            for at, (_, index, name) in zip(positions, placed, strict=True)
        ),
    )


def _points(xs: Sequence[float], ys: Sequence[float], x: Axis, y: Axis) -> str:
    pairs = zip(xs, ys, strict=True)
    return " ".join(f"{x.at(a):g},{100 - y.at(b):g}" for a, b in pairs if math.isfinite(b))


def _mark(left: float, top: float, shape: str, css: str, title: str = "") -> Markup:
    told = Markup("<title>{}</title>").format(title) if title else ""
    return Markup('<svg x="{}%" y="{}%"><path class="{}" d="{}">{}</path></svg>').format(left, top, css, shape, told)


def each(template: str, values: Iterable[tuple[object, ...]]) -> Markup:
    """Return the ``template``, which is no user's, filled with each of the values."""
    return Markup("").join(Markup(template).format(*value) for value in values)  # noqa: S704 - templates are ours
