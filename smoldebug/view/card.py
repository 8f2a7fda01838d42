"""The approval card: everything an approver needs, and nothing cut from what would be sent."""

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from smoldebug.records import Card
from smoldebug.untrusted import one_line
from smoldebug.view.phrases import WARNS, WHOLE, card_diff, card_rows, diff_lines, dry_run, where
from smoldebug.view.unified import FILE

_DIFF = {"-": "red", "+": "green", "@": "cyan", FILE: "bold", "…": "dim"}


def approval_card(card: Card, goal: Text, repository: str) -> RenderableType:
    """Without the equivalent command: in a box nobody could copy it."""
    change = card.change
    head = Text(one_line(f"{change.kind} {change.target}", WHOLE), style="bold", overflow="fold")
    on, name = where(card, repository).split(" ", 1)
    place = Text.assemble(f"{on} ", (name, "bold yellow"), f" · {dry_run(card)}", overflow="fold")
    rows = Table.grid(padding=(0, 1))
    rows.add_column(no_wrap=True, min_width=9)
    rows.add_column(overflow="fold")
    for name, text in card_rows(card):
        style = "bold yellow" if name.startswith(WARNS) else ""
        rows.add_row(Text(name, style=style or "dim"), Text(text, style=style))
        if name == "expect":
            rows.add_row(Text("goal", style="dim"), goal)
    return Panel(
        Group(head, place, Diff(card_diff(card)), rows),
        title=Text(one_line(f" PROPOSED CHANGE {card.id} ")),
        title_align="left",
        subtitle=Text(one_line(f" hash {card.digest} ", 80)),
        subtitle_align="right",
        border_style="yellow",
    )


class Diff:
    """Coloured by the first character of each line, which stays for those without colour."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in diff_lines(self._text, options.max_width):
            yield Text(line, style=_DIFF.get(line[:1], ""), overflow="fold")
