"""Text on a terminal that stays in its place while it changes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Screen:
    """Shows lines in the place of those that it has shown before."""

    def __init__(self) -> None:
        self._shown: list[str] = []

    def show(self, lines: Sequence[str]) -> None:
        """Show these lines, as many as there is room for."""
        columns, room = shutil.get_terminal_size()
        fitting = list(lines)
        while len(fitting) > 1 and _rows(fitting, columns) > room - 2:  # one for the last line here, one for the cursor
            fitting.pop()
        if len(fitting) < len(lines):
            fitting.append(f"… and {len(lines) - len(fitting)} more lines")
        if fitting != self._shown:
            # What wraps takes several rows; Ctrl-C leaves all of it to be read.
            back = f"\x1b[{_rows(self._shown, columns)}F\x1b[J" if self._shown else ""
            print(back + "\n".join(fitting), flush=True)
            self._shown = fitting


def _rows(lines: Sequence[str], columns: int) -> int:
    return sum(max(1, -(-len(line) // columns)) for line in lines)
