"""Figures: what was measured, beside the reference of the same run and the aim."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final, Literal

from rich.console import Console
from rich.table import Table

Unit = Literal["s", "MB", ""]
Comparison = Literal["value", "ratio", "difference"]
"""What an aim is about: the figure itself, how many times the reference it is, or how much more."""

_LOG_WIDTH: Final = 120
"""Columns where there is no terminal."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row of the table."""

    name: str
    unit: Unit
    measured: Sequence[float]
    reference: str
    """What `references` measured; empty when there is none."""
    references: Sequence[float]
    comparison: Comparison
    aim: float | None
    """At most this much; None: for information."""

    @property
    def compared(self) -> float:
        """What the aim is about, from the medians."""
        value = median(self.measured)
        if self.comparison == "ratio":
            return value / median(self.references)
        return value - median(self.references) if self.comparison == "difference" else value

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without one."""
        return None if self.aim is None else self.compared <= self.aim

    def text(self, compared: float) -> str:
        """Write a compared value: `1.05 times`, `+0.62 s`, `61 MB`."""
        if self.comparison == "ratio":
            return f"{compared:.2f} times"
        return f"{'+' if self.comparison == 'difference' and compared >= 0 else ''}{_number(compared, self.unit)}"


def as_json(figures: Sequence[Figure], conditions: Mapping[str, object]) -> str:
    """Write everything that was measured, for programs."""
    rows = [asdict(figure) | {"compared": figure.compared, "met": figure.met} for figure in figures]
    return json.dumps({"conditions": conditions, "figures": rows}, indent=2)


def show(figures: Sequence[Figure], conditions: Mapping[str, object]) -> None:
    """Print the table."""
    table = Table(title="Medians; in brackets the least and the most")
    for heading in ("what", "measured", "reference", "", "compared", "at most"):
        table.add_column(heading, justify="left" if heading in {"what", "reference"} else "right")
    for figure in figures:
        colour = {True: "[green]", False: "[red]", None: ""}[figure.met]
        table.add_row(
            figure.name,
            _spread(figure.measured, figure.unit),
            figure.reference,
            _spread(figure.references, figure.unit) if figure.references else "",
            f"{colour}{figure.text(figure.compared)}",
            "" if figure.aim is None else figure.text(figure.aim),
        )
    console = Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)
    console.print(table)
    console.print(", ".join(f"{name}: {value}" for name, value in conditions.items()), highlight=False)


def _number(value: float, unit: str) -> str:
    return f"{value:.{2 if unit == 's' else 0}f} {unit}".rstrip()


def _spread(values: Sequence[float], unit: str) -> str:
    middle, least, most = (_number(value, unit) for value in (median(values), min(values), max(values)))
    return (
        middle
        if least == most
        else f"{middle} ({least.removesuffix(unit).rstrip()}-{most.removesuffix(unit).rstrip()})"
    )
