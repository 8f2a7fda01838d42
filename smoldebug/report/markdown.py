"""The report file: the sections, a timeline, and the evidence word for word.

Nothing in it can fetch a remote URL or ping somebody: text from the world is escaped or fenced,
and words with an address in them stand in backticks.
"""

import json
from collections.abc import Iterable

from smoldebug.events import Stamped
from smoldebug.records import Json
from smoldebug.report.sections import sections
from smoldebug.report.story import Step, Story, story
from smoldebug.report.timeline import timeline
from smoldebug.report.words import copyable, count, verdict_words
from smoldebug.untrusted import clip, code, escaped, fence, one_line, plain

TEXT = 8000  # characters of one piece of evidence; the journal has all of it


def markdown(events: Iterable[Stamped]) -> str:
    """A whole Markdown file, ending in a newline."""
    known = list(events)
    told = story(known)
    blocks = [f"# {escaped(_title(told))}", _facts(told)]
    for section in sections(known):
        blocks += [f"## {section.heading.capitalize()}", _lines(section.lines)]
    blocks += ["## Timeline", fence("\n".join(timeline(known)))]
    cited = [step for step in told.steps if step.answer.evidence]
    if cited:
        blocks.append("## Evidence")
    for step in cited:
        blocks += _evidence(step)
    return "\n\n".join(blocks) + "\n"


def _title(told: Story) -> str:
    name = told.started.playbook if told.started else "run"
    return f"{name}: {verdict_words(told)}"


def _facts(told: Story) -> str:
    start = told.started
    if start is None or told.began is None:
        return f"Run {code(one_line(told.run) or '?')}"
    rows = {
        "run": told.run,
        "began": f"{told.began:%Y-%m-%d %H:%M:%S} UTC",
        "playbook": f"{start.playbook} {start.revision or '(not from a Git repository)'}",
        "cluster": start.context or "none",
        "repository": start.repository,
        "namespaces": ", ".join(start.namespaces) or "none",
        "goal": start.goal,
        "model": start.model,
        "mode": start.mode,
        "started by": str(start.who or "unknown"),
        "policies": ", ".join(start.policies) or "none",
        "break-glass": start.break_glass,
        "taken up again": ", ".join(
            f"{what.command} by {what.who} at {at:%Y-%m-%d %H:%M:%S} UTC"
            for at, what in told.continued
        ),
    }
    return "\n".join(f"- **{name}** {escaped(value)}" for name, value in rows.items() if value)


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(
        f"- {code(copyable(line.removeprefix('$ ')))}"
        if line.startswith("$ ")
        else f"- {escaped(line)}"
        for line in lines
    )


def _arguments(arguments: Json) -> str:
    return one_line(json.dumps(arguments, ensure_ascii=False, default=str), 300)


def _evidence(step: Step) -> list[str]:
    seen = step.answer.observation
    text = seen.text if seen else step.answer.text
    heading = f"### {escaped(step.answer.evidence)} {escaped(step.tool)}"
    about = f"{step.wall:%H:%M:%S} UTC, step {step.turn}"
    if step.arguments is not None:  # nobody called for what a run opens with
        about += f": {code(_arguments(step.arguments))}"
    blocks = [heading, about]
    if step.answer.flags:
        flagged = count(len(step.answer.flags), "line")
        blocks.append(f"**Written like an instruction to an AI, kept as data: {flagged}.**")
    return [*blocks, fence(plain(clip(text, TEXT)))]
