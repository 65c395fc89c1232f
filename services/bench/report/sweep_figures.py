"""Tables and figures of a sweep, with its first setting as the axis."""

from __future__ import annotations

from typing import Any

import pandas as pd
from cycler import Cycler
from matplotlib.axes import Axes

from services.bench.report.score_statistics import Tables, last_of
from services.bench.sweeps import Sweep, in_words, is_number, point_words

_LOGARITHMIC_FROM = 20.0
"""The axis is logarithmic if the ratio of the largest value to the smallest is at least this."""


def sweep_table(sweep: Sweep, tables: Tables) -> pd.DataFrame:
    """The final scores of a sweep's points that have runs, in the order of the file.

    Args:
        sweep: A sweep of the suite.
        tables: Tables of the suite's report.

    Returns:
        A column for each setting, by its dotted name; entry, games, seeds, frames, iqm, low, high.
    """
    final = last_of(tables.iqm_curve).set_index("entry", drop=False)
    names = [name for name in sweep.points if name in final.index]
    rows = [sweep.points[name] for name in names]
    # As objects, so that integers and booleans keep their types in a mixed column.
    values = pd.DataFrame(rows, columns=[*sweep.settings], dtype=object)
    return pd.concat([values, final.loc[names].reset_index(drop=True)], axis=1)


def draw_sweep(axes: Axes, sweep: Sweep, table: pd.DataFrame, styles: Cycler[str, Any]) -> None:
    """Draw scores against the first setting, with a line for each combination of the others.

    Args:
        axes: Axes to draw on.
        sweep: A sweep of the suite.
        table: Table from `sweep_table`, with at least one row.
        styles: Styles of the lines, in order.
    """
    first, *others = sweep.settings
    values = list(dict.fromkeys(map(in_words, table[first])))
    numbers = [*table[first]] if all(map(is_number, table[first])) else None
    if numbers is None:
        axes.set_xticks(range(len(values)), values)
    elif min(numbers) > 0 and max(numbers) / min(numbers) >= _LOGARITHMIC_FROM:
        axes.set_xscale("log")
    lines: dict[str, list[int]] = {}
    for row in range(len(table)):
        words = ", ".join(point_words(others, [table[other].iloc[row] for other in others]))
        lines.setdefault(words or sweep.label, []).append(row)
    for (label, rows), style in zip(lines.items(), styles(), strict=False):
        shown = table.iloc[rows]
        places = (
            [float(value) for value in shown[first]]
            if numbers is not None
            else [values.index(in_words(value)) for value in shown[first]]
        )
        shown = shown.assign(place=places).sort_values("place")
        axes.plot(shown["place"], shown["iqm"], label=label, marker="o", **style)
        axes.fill_between(
            shown["place"], shown["low"], shown["high"], color=style["color"], alpha=0.2
        )
