"""The charts of the page, as inline SVG that takes its colours from the page's style sheet.

Vega-Lite draws them, through vl-convert: one wheel without further packages, which hands colours on as they are
written, so that `var(--ink)` follows light and dark. Matplotlib takes as much room on disk with its packages (84 MB),
starts a second later, and its SVG is twice as long. Pygal is small, but each of its charts brings 10 KB of style with
colours of its own.

A chart stretches with the page: lines keep their width (see `.chart` in page.css), and there is no text in it. Numbers
and days stand beside it in the page, where they stay readable on a phone. Nothing from clariBI but numbers goes into a
specification; titles are added to the finished picture.
"""

from datetime import UTC, date, datetime
from typing import Any, Final
from xml.etree import ElementTree

import vl_convert
from markupsafe import Markup

from pipelines.digest.facts import CRITICAL, WARNING, WELL, Meter, RunLine, Widget
from pipelines.watch.usage import Forecast, Point

SVG: Final = "http://www.w3.org/2000/svg"
WIDTH: Final = 600
"""Of every chart, in its own units; the page decides how wide it is shown."""
SLOTS: Final = 30
"""Days for which there is room among the runs from the first day on, so that the chart fills from the left."""
HEADROOM: Final = 1.06
"""How far the scale goes beyond the highest value, so that no line is cut in half."""

COLOURS: Final = {WELL: "var(--ink)", WARNING: "var(--warn)", CRITICAL: "var(--bad)"}

_DAY_S: Final = 86_400
_REDUNDANT: Final = ("class", "role", "aria-roledescription", "aria-hidden", "fill-opacity")

ElementTree.register_namespace("", SVG)


def usage_chart(meter: Meter, title: str) -> Markup:
    """What was used over time below the line of the limit, and how it goes on if it goes on like this."""
    newest, expected = meter.newest, meter.forecast
    used = [{"x": _days(point.at), "y": point.used} for point in meter.points]
    ends = [_days(newest.at)] + ([_day(expected.resets_on)] if expected else [])
    across = (used[0]["x"], max(*ends, used[0]["x"] + 1))
    upwards = (0.0, max(newest.limit, *(point.used for point in meter.points)) * HEADROOM)
    layers = [
        _layer(used, {"type": "area", "fill": "var(--area)"}),
        _layer(used, _line("var(--ink)")),
        _layer([{"x": across[0], "y": newest.limit}, {"x": across[1], "y": newest.limit}], _line("var(--bad)", 1)),
        *(_ahead(expected, newest) if expected else []),
        _dot(used[-1]),
    ]
    return _drawn(layers, 96, across, upwards, title)


def widget_chart(widget: Widget, days: tuple[date, date], title: str) -> Markup:
    """A widget's line over the days that all widgets share, on a scale of its own, with its target."""
    line = [{"x": _day(day), "y": value} for day, value in widget.days]
    target = [] if widget.target is None else [widget.target]
    low, high = min([widget.low, *target]), max([widget.high, *target])
    margin = (high - low) * (HEADROOM - 1) * 2 or abs(high) or 1
    across = (_day(days[0]), max(_day(days[1]), _day(days[0]) + 1))
    layers = [
        *(_layer([{"x": x, "y": value} for x in across], _dashed("var(--faint)")) for value in target),
        _layer(line, _line("var(--ink)")),
        _dot(line[-1]),
    ]
    return _drawn(layers, 56, across, (low - margin, high + margin), title)


def runs_chart(runs: list[RunLine], title: str) -> Markup:
    """Calls a day, what did not end well marked by colour; a day without a run stays empty."""
    first, last = min(run.day for run in runs), max(run.day for run in runs)
    slots = max(SLOTS, (last - first).days + 1)
    heights: dict[date, float] = {}
    layers = []
    for level, colour in COLOURS.items():
        bars = []
        for run in (run for run in runs if run.level == level):
            low, x = heights.get(run.day, 0), (run.day - first).days
            heights[run.day] = low + run.requests
            bars.append({"x": x + 0.1, "x2": x + 0.9, "y": low, "y2": heights[run.day]})
        layers.append(_layer(bars, {"type": "rect", "fill": colour}))
    return _drawn(layers, 72, (0, slots), (0, max(*heights.values(), 1)), title)


def _ahead(expected: Forecast, newest: Point) -> list[dict[str, Any]]:
    """From the newest point to the day on which the counter begins anew: the usual rate, and the span around it."""
    start, end = _days(newest.at), _day(expected.resets_on)
    rates = (expected.per_day_low, expected.per_day, expected.per_day_high)
    hits = [start + expected.left / rate for rate in rates if rate > 0]
    turns = sorted({start, end, *(hit for hit in hits if hit < end)})
    low, usual, high = ([min(newest.used + rate * (x - start), newest.limit) for x in turns] for rate in rates)
    fan = [{"x": x, "y": top, "y2": bottom} for x, top, bottom in zip(turns, high, low, strict=True)]
    line = [{"x": x, "y": y} for x, y in zip(turns, usual, strict=True)]
    return [_layer(fan, {"type": "area", "fill": "var(--fan)"}), _layer(line, _dashed("var(--ink)"))]


def _layer(values: list[dict[str, Any]], mark: dict[str, Any]) -> dict[str, Any]:
    channels = {name: {"field": name, "type": "quantitative"} for name in ("x", "y")}
    ends = {name: {"field": name} for name in ("x2", "y2") if values and name in values[0]}
    return {"data": {"values": values}, "mark": mark, "encoding": channels | ends}


def _line(colour: str, width: float = 1.5) -> dict[str, Any]:
    return {"type": "line", "stroke": colour, "strokeWidth": width}


def _dashed(colour: str) -> dict[str, Any]:
    return _line(colour, 1) | {"strokeDash": [4, 3]}


def _dot(at: dict[str, float]) -> dict[str, Any]:
    """A line without length and with round ends: a circle would be stretched to an ellipse."""
    return _layer(
        [at | {"x2": at["x"]}], {"type": "rule", "stroke": "var(--ink)", "strokeWidth": 6, "strokeCap": "round"}
    )


def _drawn(
    layers: list[dict[str, Any]], height: int, across: tuple[float, float], upwards: tuple[float, float], title: str
) -> Markup:
    """The layers over one another, as an image with a title."""
    for axis, domain in (("x", across), ("y", upwards)):
        scale = {"domain": domain, "nice": False, "zero": False, "padding": 0}
        layers[0]["encoding"][axis] |= {"axis": None, "scale": scale}
    drawn = vl_convert.vegalite_to_svg(
        {
            "width": WIDTH,
            "height": height,
            "padding": 0,
            "background": None,
            "autosize": {"type": "none"},
            "config": {"view": {"stroke": None}, "aria": False},
            "layer": layers,
        }
    )
    return _titled(drawn, height, title)


def _titled(drawn: str, height: int, title: str) -> Markup:
    """The marks alone, under a title that a reader hears and a pointer shows."""
    svg = ElementTree.fromstring(drawn)  # noqa: S314 - what the library has just drawn from numbers
    for element in svg.iter():
        for name in _REDUNDANT:
            element.attrib.pop(name, None)
    box = {"viewBox": f"0 0 {WIDTH} {height}", "height": str(height), "preserveAspectRatio": "none"}
    image = ElementTree.Element(f"{{{SVG}}}svg", {"class": "chart", "role": "img"} | box)
    ElementTree.SubElement(image, f"{{{SVG}}}title").text = title
    image.extend(svg)
    return Markup(ElementTree.tostring(image, encoding="unicode"))  # noqa: S704 - serialised XML


def _days(at: datetime) -> float:
    """Days since 1970, UTC, with their fraction."""
    return at.timestamp() / _DAY_S


def _day(day: date) -> float:
    return _days(datetime(day.year, day.month, day.day, tzinfo=UTC))
