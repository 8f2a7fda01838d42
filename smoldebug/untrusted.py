"""Text from the world is data: made safe here for a terminal, a CI log, Markdown and a prompt."""

import re
import unicodedata
from collections.abc import Callable
from itertools import islice

from smoldebug.records import Json

DEEPEST = 100  # levels of JSON; no tool takes more, and no recursion here goes further

# C0 except \n and \t, DEL, C1, surrogates; what turns the direction of text or begins a line; and
# what Unicode calls ignorable: nobody sees it, a model reads it (zero widths, fillers, selectors)
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Escape sequences with all that a terminal would swallow, begun by ESC or by their C1 character:
# CSI; strings (OSC, DCS, SOS, PM, APC) up to their end; the rest
_ANSI = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"
    "|(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x18\x1a\x1b\x80-\x9f]*(?:\x07|\x1b\\\\|\x9c)"
    "|\x1b[ -/]*[0-~]"
)

# Words that address a reader who follows orders, in a line whose white space is folded. A flag,
# never a filter: the line stays evidence.
_DO = (
    r"(?:call|run|execute|delete|scale|apply|patch|restart|invoke|reveal|send|escalate|approve"
    r"|ignore|drain|cordon|roll ?back)"
)
_READER = r"(?:ai|assistant|agents?|llms?|(?:language )?models?|chatbot|copilot|debugger|bot)"
_INSTRUCTION = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass) (?:(?:all|any|your|the|of|my|these|those) )*"
    r"(?:previous|prior|above|earlier|preceding|system|safety|guard|other)? ?"
    r"(?:instructions|rules|guidelines|policies|polic[yi]|guard|safety|prompts?|above|limits"
    r"|restrictions|previous|prior|earlier|everything)\b"
    r"|\byou (?:are|must|should|shall|have to|need to|may) "
    rf"(?:now |always |immediately )*(?:an? {_READER}|in \w+ mode|{_DO})\b"
    r"|\byou are now\b|\b(?:your|system|developer) (?:prompt|instructions|role is)\b"
    r"|\b(?:new|updated) instructions\b|\b(?:real|actual) (?:instructions|task|goal) ?:"
    rf"|\bas an? {_READER}\b"
    rf"|\b(?:to|for|dear|hey|attention|note|hello)[ ,:]+(?:(?:the|any|all|every) )?"
    rf"(?:automat\w+ |debugging |sre )?{_READER} ?(?:[:,.!]|read)"
    r"|(?:^|[ \"'>(])(?:assistant|agent|ai|llm) ?[:,] ?"
    r"(?:please|call|run|execute|delete|scale|apply)\b"
    r"|\b(?:do not|don't|never|without) (?:tell|inform|ask|alert)(?:ing)? "
    r"(?:the |any )?(?:operator|user|human|anyone|engineer|on-call)"
    r"|\b(?:operator|user|human|on-call|sre) (?:has |have |already )+"
    r"(?:pre-?)?(?:approved|authori[sz]ed|confirmed|consented)\b"
    r"|\bpre-?approved\b|\bno (?:further |human )?(?:approval|confirmation) "
    r"(?:is )?(?:needed|required|necessary)\b"
    r"|\b(?:call|use|invoke) (?:the )?(?:tool|function)\b|\b(?:tool|function)_calls?\b"
    r"|\"(?:name|tool|function)\" ?: ?\"\w{1,60}\" ?, ?"
    r"\"(?:arguments|parameters|args|input)\" ?:"
    r"|^(?:observation|final answer|action input|thought) ?:"
    r"|\bgoal (?:is |was |has been )?(?:now )?(?:already )?met\b"
    r"|<\|\w{1,30}\|>|\[/?INST\]|<</?SYS>>|</?(?:system|assistant|tool_call|function|invoke|"
    r"start_of_turn|end_of_turn|instructions?)\b[^>]{0,80}>"  # the marks of chat templates
    r"|^#{1,3} ?(?:instruction|system|assistant|human|response)s? ?:? ?$"
    r"|\bignor(?:iere|ez|a|e|are)\b[^.]{0,40}\b(?:anweisungen|instructions|instrucciones"
    r"|istruzioni|instruções)\b|忽略.{0,12}(?:指令|指示)|指示を無視",
    re.IGNORECASE,
)
# Each match holds one of these: most texts hold none, and are not searched.
_CUES = """\
ignor,disregard,forget,override,bypass,you,prompt,instruct,assistant,agent,llm,model,chatbot,copilot
debugger,approved,authori,confirmed,consented,approval,confirmation,tool,function,do not,don't,never
without,observation,final answer,action input,thought,goal,task,arguments,parameters,"args,"input,<|
inst],sys>,<system,</system,<invoke,</invoke,_of_turn,# ,##,忽略,指示""".replace("\n", ",").split(
    ","
)
_CUE_WORDS = re.compile(r"\b(?:ai|bot)\b")
_FLAGS = 10  # lines; a log full of them is flagged no better by all


# GitHub Actions runs `::command::` at the start of a line, white space skipped, and `##[command]`
# anywhere in it; Azure Pipelines `##vso[`, TeamCity `##teamcity[`.
_COMMAND = re.compile(r"^(\s*)(?=::)|(?<=#)(?=#\w*\[)", re.MULTILINE)


def plain(text: str) -> str:
    """Without control characters (newline and tab stay), escape sequences, and what nobody sees."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub("", _ANSI.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def inert(text: str) -> str:
    """Text of which no CI system executes a line: `::error::` becomes `|::error::`."""
    return _COMMAND.sub(lambda found: f"{found[1]}|" if found[1] is not None else " ", text)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def whole(value: Json, depth: int = DEEPEST, text: Callable[[str], str] = _encodable) -> Json:
    """JSON that every file and stream can take: lone surrogates become `?` (or what `text` makes of
    a string), what is nested deeper than `depth` becomes `...`."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict | list | tuple) and not depth:
        return "..."
    if isinstance(value, dict):
        return {text(key): whole(item, depth - 1, text) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [whole(item, depth - 1, text) for item in value]
    return value


def one_line(text: str, limit: int = 200) -> str:
    """Plain, on one line, at most `limit` characters."""
    flat = " ".join(plain(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def instruction_like(text: str) -> tuple[str, ...]:
    """The first lines that read like an instruction to an AI, shortened; shown as a warning."""
    clean = plain(text)
    if not clean.isascii():
        clean = unicodedata.normalize("NFKC", clean)  # ｉｇｎｏｒｅ, 𝗶𝗴𝗻𝗼𝗿𝗲
    folded = clean.casefold()
    if not (any(cue in folded for cue in _CUES) or _CUE_WORDS.search(folded)):
        return ()
    found = (line for line in map(_folded, clean.splitlines()) if _INSTRUCTION.search(line))
    return tuple(one_line(line, 120) for line in islice(found, _FLAGS))


def _folded(line: str) -> str:
    return " ".join(line.split())


def fence(text: str) -> str:
    """Quoted for a prompt: a block whose fence does not occur in the text."""
    mark = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{mark}\n{text}\n{mark}"


# Marks of chat templates. Some servers read them inside of a text, too, and begin another role:
# <|im_start|>, <｜User｜>, </think>, <tool_call>, <start_of_turn>, </s>, [INST], <<SYS>>
_MARKS = re.compile(
    r"<(?=[|｜]\w|<?/?(?:think|tool_\w{1,20}|(?:start|end)_of_turn|[be]os|s|SYS)[|>])"
    r"|\[(?=/?(?:INST|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|SYSTEM_PROMPT)\])",
    re.IGNORECASE,
)


def unmarked(text: str) -> str:
    """Text for a prompt that no chat template takes for its own: `<|im_start|>`, `[INST]` get a
    space after the bracket."""
    return _MARKS.sub(lambda found: f"{found[0]} ", text)


def clip(text: str, limit: int = 8000) -> str:
    """At most about `limit` characters: the head, the tail, and how much is missing between."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... [{len(text) - 2 * half} characters cut] ...\n{text[-half:]}"


# --- Markdown -------------------------------------------------------------------------------

# What a forge makes a link, a mention or a reference of, even where Markdown has escaped it:
# https://..., @team, a@b, #12, GH-12, and of GitLab !12 and &12. Inside code it stays text.
_REFERS = re.compile(r"(?i)\S*(?::/|@|www\.|[#!&]\d|GH-\d)\S*")
_SPECIAL = re.compile(r"([\\`*\[\]<|~&$]|(?<![^\W_])_|_(?![^\W_]))")
_LEADING = re.compile(r"^(\d+)([.)])|^([-+#=>]|:(?=:))")  # the last: a command to a CI system
_ADDRESS = re.compile(
    r"https?://[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?(?::\d{1,5})?"
    r"(?:[/?#][\w./?#:@!$&()*+,;=%~-]{0,1500})?",
    re.ASCII | re.IGNORECASE,
)


def escaped(text: str, limit: int = 1000) -> str:
    """Text from the world as one line of Markdown that renders as itself."""
    pieces, end, line = [], 0, one_line(text, limit)
    for match in _REFERS.finditer(line):
        pieces += [_escape(line[end : match.start()]), code(match.group())]
        end = match.end()
    whole = "".join([*pieces, _escape(line[end:])])
    return _LEADING.sub(lambda found: f"{found[1] or ''}\\{found[2] or found[3]}", whole)


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def code(text: str) -> str:
    """A code span whose backticks do not occur in the text, which is not empty."""
    mark = "`"
    while mark in text:
        mark += "`"
    pad = " " if text[:1] in ("`", " ") or text[-1:] in ("`", " ") else ""
    return f"{mark}{pad}{text}{pad}{mark}"


def web_address(text: str) -> str:
    """The text where all of it is an http(s) address with a plain host, no user and nothing that
    could end a link; else ""."""
    return text if _ADDRESS.fullmatch(text) else ""
