"""The approval card: everything an approver needs, and nothing cut from what would be sent."""

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from smoldebug.records import Card
from smoldebug.untrusted import one_line, plain
from smoldebug.view.phrases import back_to

_DIFF = {"-": "red", "+": "green", "@": "cyan"}


def approval_card(card: Card, goal: Text) -> RenderableType:
    change = card.change
    head = Table.grid(expand=True)
    head.add_column(ratio=1)
    head.add_column(justify="right")
    head.add_row(
        Text(one_line(f"{change.kind} {change.target}", 300), style="bold"),
        Text(one_line(card.context, 80) or "no cluster", style="bold yellow"),
    )
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    undo = change.no_undo or f"{back_to(change.before, change.after)} (recorded before it is sent)"
    for name, text in (
        ("why", change.why),
        ("because", " ".join(change.evidence)),
        ("expects", change.expects),
        ("dry run", card.dry_run),
        ("no undo" if change.no_undo else "undo", undo),
        ("limits", card.limits),
        ("equals", card.command),
    ):
        if text:
            rows.add_row(name, Text(one_line(text, 4000)))
    rows.add_row("goal", goal)
    return Panel(
        Group(head, Text(), diff(card.diff), Text(), rows),
        title=Text(one_line(f" PROPOSED CHANGE {card.id} ")),
        title_align="left",
        border_style="yellow",
    )


def diff(text: str) -> Text:
    """Coloured by the first character of each line, which stays for those without colour."""
    lines = [
        Text(line, style=_DIFF.get(line[:1], "")) for line in plain(text).splitlines() or ["(none)"]
    ]
    return Text("\n").join(lines)
