"""The table: what differs, how it should be, how it is, and what mends it."""

from collections.abc import Sequence
from typing import Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from doctor.observe.drift import Difference

_COLUMNS: Final = ("where", "what", "as the stack says", "as it is", "what mends it")
REPAIRABLE: Final = frozenset({"reapply", "apply", "record", "orphan"})
"""What `--repair` mends."""


def show(title: str, differences: Sequence[Difference], out: TextIO) -> None:
    """Print the table, in colours on a terminal only."""
    console = Console(file=out, highlight=False)
    table = Table(title=title, title_justify="left")
    for column in _COLUMNS:
        table.add_column(column, overflow="fold")
    for each in differences:
        # Text, not markup: a record may hold brackets.
        style = "yellow" if each.mend in REPAIRABLE else "red"
        cells = (each.where, each.what, each.wanted, each.found)
        table.add_row(*(Text(cell) for cell in cells), Text(mended_by(each), style=style))
    console.print(table)


def mended_by(difference: Difference) -> str:
    """Return the command that mends it, or what to do."""
    pattern = f"'**::{difference.urn.rpartition('::')[2]}'"
    return {
        "reapply": f"mailhostctl reapply {difference.where}",
        "apply": f"pulumi up --target-replace {pattern}",
        "record": f"pulumi refresh, then up, each with --target {pattern}",
        "orphan": f"DELETE {difference.id}",
        "stranded": f"delete it at Cloudflare, if nobody needs it: DELETE {difference.id}",
        "remove": f"mailhostctl remove {difference.where}, if no other stack needs it",
        "nothing": "see make doctor",
    }[difference.mend]
