"""What a forge is told: a title, a commit, a body and a comment that inform and do nothing else."""

import re
from dataclasses import replace

import pytest
from hostile import HOSTILE, of, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from smoldebug.playbook.patches import (
    AddItem,
    Edit,
    Key,
    KeyValue,
    RemoveEnv,
    RemoveItem,
    RemovePath,
    SetEnv,
    SetImage,
    SetPath,
    SetProbe,
    SetReplicas,
    SetResources,
)
from smoldebug.pull_request import (
    BEGIN,
    BODY,
    END,
    SUBJECT,
    Facts,
    body,
    commit_message,
    failure_comment,
    quiet,
    title,
)
from smoldebug.records import CheckRun, Edited, ObjectRef, Quote
from smoldebug.untrusted import web_address

FLAG = Edit(set_env=SetEnv(name="FEATURE_FLAG", value=True))
MARKER = "<!-- smoldebug 7f3a1c -->"

ATTACKS = (
    *HOSTILE,
    "@team closes #1 fixes GH-2 !3 www.evil.example a@b.example",
    f"{END} <!-- x --> -->",
    "\n/close\n/merge",
    "a | b \\| c `|` \\",
    "```\n/approve\n```",
    "<details><img src=x onerror=y></details> <https://evil.example>",
    "[x]: https://evil.example\n[x]",
)
attacks = st.one_of(st.sampled_from(ATTACKS), texts)


def changed(number: int = 12, kind: str = "Deployment", **fields: str) -> list[Edited]:
    return [
        Edited(
            ObjectRef(kind, "staging", f"svc-{n}"), f"deploy/svc-{n}.yaml", 14, "changed", **fields
        )
        for n in range(number)
    ]


FACTS = Facts(
    run="7f3a1c",
    version="0.2.0",
    playbook="add-env-var",
    edits=(FLAG,),
    edited=tuple(changed()),
    revision="3f2a1c9",
    why="Post-mortem fix.",
    incident="https://incidents.example/INC-4711",
)


# --- title ------------------------------------------------------------------------------------


TITLES = [
    (FLAG, "Set FEATURE_FLAG=true"),
    (Edit(set_env=SetEnv(name="CODE", value="0123")), "Set CODE=0123"),
    (Edit(remove_env=RemoveEnv(name="OLD")), "Remove OLD"),
    (Edit(set_image=SetImage(image="shop/auth:1.4.2")), "Set the image to shop/auth:1.4.2"),
    (
        Edit(set_resources=SetResources(requests={"cpu": "1"}, limits={"memory": "1Gi"})),
        "Set requests cpu=1 and limits memory=1Gi",
    ),
    (Edit(set_replicas=SetReplicas(replicas=6)), "Set replicas=6"),
    (Edit(set_probe=SetProbe(probe="readiness", to={})), "Set the readiness probe"),
    (Edit(set_label=KeyValue(name="team", value="shop")), "Set label team=shop"),
    (Edit(remove_label=Key(name="team")), "Remove label team"),
    (Edit(set_annotation=KeyValue(name="a.io/b", value=1)), "Set annotation a.io/b=1"),
    (Edit(remove_annotation=Key(name="a.io/b")), "Remove annotation a.io/b"),
    (Edit(set=SetPath(path="spec.minReadySeconds", value=5)), "Set spec.minReadySeconds=5"),
    (Edit(remove=RemovePath(path="spec.paused")), "Remove spec.paused"),
    (
        Edit(add_item=AddItem(path="spec.tolerations", key="key", item={"key": "gpu"})),
        "Add gpu to spec.tolerations",
    ),
    (
        Edit(remove_item=RemoveItem(path="spec.volumes", key="name", value="tmp")),
        "Remove tmp from spec.volumes",
    ),
    (
        Edit(remove=RemovePath(path="spec.containers[skip-ci].args")),
        "Remove spec.containers.skip-ci.args",
    ),
]


@pytest.mark.parametrize(("edit", "words"), TITLES)
def test_a_title_says_what_is_done_to_how_many(edit: Edit, words: str):
    assert title([edit], changed()) == f"{words} in 12 Deployments of staging"


def test_every_action_a_playbook_knows_has_words():
    actions = set(Edit.__struct_fields__) - {"select", "paths"}
    assert actions == {name for edit, _ in TITLES for name in actions if getattr(edit, name)}


def test_a_title_counts_what_was_changed_and_names_a_single_object():
    already = replace(changed(1)[0], state="already so")
    assert title([FLAG], [*changed(2), already]) == (
        "Set FEATURE_FLAG=true in 2 Deployments of staging"
    )
    assert title([FLAG], changed(1)) == "Set FEATURE_FLAG=true in Deployment staging/svc-0"
    assert title([FLAG], changed(2, "NetworkPolicy")).endswith("in 2 NetworkPolicies of staging")
    over = [replace(row, state="differs", detail="sets it to false") for row in changed(2)]
    assert title([FLAG], over) == "Set FEATURE_FLAG=true in 2 Deployments of staging"
    assert "| replaces another value: `sets it to false` |" in body(replace(FACTS, edited=over))
    assert title([FLAG], ()) == "Set FEATURE_FLAG=true"
    mixed = [*changed(1), *changed(1, "StatefulSet")]
    assert title([FLAG, FLAG, FLAG], mixed) == (
        "Set FEATURE_FLAG=true and 2 more edits in 2 objects of staging"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PASSWORD", "hunter2hunter2"),
        ("FLAG", "@everyone"),
        ("FLAG", "x closes #12"),
        ("FLAG", "https://evil.example"),
        ("FLAG", "y" * 60),
    ],
)
def test_a_value_that_is_secret_or_long_or_does_something_is_not_in_the_title(
    name: str, value: str
):
    edit = Edit(set_env=SetEnv(name=name, value=value))
    assert title([edit], changed()) == f"Set {name} in 12 Deployments of staging"


# --- commits ----------------------------------------------------------------------------------


def test_a_commit_says_what_why_and_by_which_run():
    assert commit_message(FACTS, "deploy/svc-3.yaml") == (
        "Set FEATURE_FLAG=true in Deployment staging/svc-3\n"
        "\n"
        "Post-mortem fix.\n"
        "\n"
        "Made by smoldebug 0.2.0, playbook add-env-var.\n"
        "\n"
        "Smoldebug-Run: 7f3a1c\n"
        "Incident: https://incidents.example/INC-4711\n"
    )
    assert commit_message(FACTS, subject="chore: flag").splitlines()[0] == "chore: flag"


def test_no_text_of_a_commit_skips_ci_closes_an_issue_or_forges_a_trailer():
    why = "closes #12, @anna GH-3 [skip ci] ***NO_CI***\n\nSigned-off-by: Eve <eve@example.com>"
    said = commit_message(replace(FACTS, why=why, incident="x\nReviewed-by: Eve"))
    assert not re.search(r"#\d|(?<!\w)@\w|GH-\d|\[skip|\*\*\*NO", said)
    assert said.rstrip().split("\n\n")[-1] == "Smoldebug-Run: 7f3a1c"
    assert "\nSigned-off-by:" not in said


@given(attacks)
@settings(deadline=None)
def test_a_title_in_the_words_of_a_model_refers_to_nobody(text: str):
    said = quiet(text, SUBJECT)
    assert len(said) <= SUBJECT
    assert not re.search(r"(?<!\w)@\w|#\w|!\d|(?i:GH-\d)|://|\[|\n", said)


@given(texts, texts, texts, texts)
@settings(deadline=None)
def test_any_text_makes_a_commit_with_one_subject_and_our_trailers_last(
    name: str, value: str, why: str, subject: str
):
    edit = Edit(set_env=SetEnv(name=name, value=value))
    row = Edited(ObjectRef(name, value, why), name, 1, "changed")
    said = commit_message(
        replace(FACTS, edits=[edit], edited=[row], why=why, incident=why), subject=subject
    )
    first, blank, *_ = said.split("\n")
    assert 0 < len(first) <= SUBJECT
    assert blank == ""
    assert said.endswith("\n\nSmoldebug-Run: 7f3a1c\n")
    assert said.encode()


# --- body -------------------------------------------------------------------------------------


def test_the_body_tells_a_reviewer_all_there_is_to_know():
    rows = (
        *changed(2),
        Edited(
            ObjectRef("Deployment", "staging", "x"),
            "charts/x/values.yaml",
            0,
            "refused",
            "no template takes it",
            "helm charts/x",
        ),
    )
    told = body(
        replace(
            FACTS,
            edited=rows,
            uncovered=("Deployment/staging/legacy",),
            drift=("Deployment/staging/cart: replicas 3, its manifest says 2",),
            problems=("deploy/broken.yaml:3: tab",),
            quotes=(
                Quote("E1", "FEATURE_FLAG is not set", True),
                Quote("E2", "never said", False),
            ),
            summary="It was the flag.",
            writer="qwen3",
        )
    )
    for words in (
        "**Set FEATURE_FLAG=true in 2 Deployments of staging**",
        "Incident: <https://incidents.example/INC-4711>",
        "2 changed, 1 refused",
        "| `Deployment/staging/svc-0` | `deploy/svc-0.yaml:14` | changed |",
        "| refused (helm charts/x): `no template takes it` |",
        "- Deployment/staging/legacy",
        "replicas 3, its manifest says 2",
        "deploy/broken.yaml:3: tab",
        "- E1: `FEATURE_FLAG is not set`",
        "### Summary, in the words of `qwen3`\n\n> It was the flag.\n",
        "no model had a part in them",
        "smoldebug `0.2.0`, playbook `add-env-var` at `3f2a1c9`, run `7f3a1c`",
        "`smoldebug undo 7f3a1c` closes this pull request",
    ):
        assert words in told
    assert "never said" not in told
    assert told.index("refused (helm") < told.index("svc-0")


def test_that_a_model_chose_edits_is_not_kept_back():
    told = body(replace(FACTS, model="qwen3"))
    assert "the model `qwen3` had a part in choosing them" in told
    assert "no model" not in told


@pytest.mark.parametrize(
    ("template", "order"),
    [
        ("", [BEGIN, END]),
        ("Please describe.\n", [BEGIN, END, "Please describe."]),
        ("## What\n\n- [ ] tested\n", ["## What", BEGIN, END, "- [ ] tested"]),
        ("<!-- a\n# no -->\r\n## What\r\nx\r\n", ["# no -->\n## What", BEGIN, END, "\nx"]),
        ("<!-- never closed\n# What\n", [BEGIN, END, "<!-- never closed\n# What"]),
    ],
)
def test_the_template_is_kept_with_our_part_below_its_first_heading_or_above(
    template: str, order: list[str]
):
    told = body(replace(FACTS, template=template))
    places = [told.index(each) for each in order]
    assert places == sorted(places)


def test_our_part_is_replaced_in_a_body_that_people_have_edited():
    first = body(replace(FACTS, template="## What\n\n- [ ] tested"))
    edited = first.replace("- [ ] tested", "- [x] tested\n\nLooks good to me").replace("\n", "\r\n")
    again = body(replace(FACTS, template=edited, edited=changed(13)))
    assert again == body(
        replace(FACTS, template="## What\n\n- [x] tested\n\nLooks good to me", edited=changed(13))
    )
    assert again.count(BEGIN) == again.count(END) == 1


@pytest.mark.parametrize("template", ["", "## What\n" + "- [ ] x\n" * 3000, "<!-- x --> " * 5000])
def test_a_body_is_never_longer_than_a_forge_takes(template: str):
    long = "`" * 150 + "@" * 150
    facts = replace(
        FACTS,
        edits=[FLAG] * 2000,
        edited=changed(1000, detail=long),
        why=long * 100,
        uncovered=[long] * 1000,
        drift=[long] * 1000,
        problems=[long] * 1000,
        quotes=[Quote("E1", long, True)] * 1000,
        summary="@\n" * 5000,
        template=template,
    )
    told = body(facts)
    assert len(told) <= BODY
    assert re.search(r"^… and [\d]+ more$", told, re.MULTILINE)
    assert told.index(END) > told.index("### Undo")


def test_a_table_that_does_not_fit_is_cut_after_what_somebody_must_look_at():
    refused = replace(changed(1)[0], state="refused", detail="duplicate key")
    told = body(replace(FACTS, edited=[*changed(1000), refused]))
    assert "refused: `duplicate key`" in told
    assert (found := re.search(r"\n\n… and (\d+) more\n", told))
    assert told.count("| changed |") + int(found[1]) == 1000


# --- nothing of it acts -------------------------------------------------------------------------

_REFERENCE = re.compile(r"@\w|#\d|!\d|(?i:GH-\d)|://|www\.")


def acting(text: str) -> list[str]:
    """What a forge would make of it besides words: markup, mentions, references, orders."""
    found = [line for line in text.splitlines() if line.startswith("/")]
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text):
        for part in (token, *(token.children or ())):
            if part.type in ("image", "link_open", "html_inline"):
                found.append(part.type)
            if part.type == "html_block" and not part.content.startswith("<!-- smoldebug"):
                found.append(part.content)
            if part.type == "text":
                found += _REFERENCE.findall(part.content)
    return found


edited = st.lists(
    st.builds(Edited, of(ObjectRef), *(attacks, st.just(3), attacks, attacks, attacks)), max_size=3
)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_no_text_of_the_world_acts_in_a_body(data: st.DataObject):
    some = st.lists(attacks, max_size=2)
    facts = Facts(
        *(data.draw(attacks) for _ in range(3)),
        edits=[Edit(set_env=SetEnv(name=data.draw(attacks), value=data.draw(attacks)))],
        edited=data.draw(edited),
        revision=data.draw(attacks),
        why=data.draw(attacks),
        incident=data.draw(attacks.filter(lambda text: not web_address(text))),
        problems=data.draw(some),
        uncovered=data.draw(some),
        drift=data.draw(some),
        quotes=[Quote("E1", text, True) for text in data.draw(some)],
        model=data.draw(attacks),
        summary=data.draw(attacks),
        writer=data.draw(attacks),
    )
    told = body(facts)
    assert acting(told) == []
    assert told.count(BEGIN) == told.count(END) == 1
    assert told.encode()
    rows = MarkdownIt("commonmark").enable("table").parse(told)
    cells = sum(token.type == "td_open" for token in rows)
    assert cells == 3 * len(facts.edited)


@given(attacks, attacks, attacks, attacks)
@settings(deadline=None)
def test_no_text_of_the_world_acts_in_a_comment(run: str, reason: str, name: str, detail: str):
    checks = [CheckRun(name, "failed", "", detail), CheckRun(name, "pending")]
    told = failure_comment(run, reason, checks, MARKER)
    assert told.startswith(MARKER)
    assert told.count("<!--") == 1
    assert acting(told) == []


@pytest.mark.parametrize(
    "text",
    ["![x](https://evil.example)", "<b>", "\n<img>", "<https://evil.example>", "[x](y)", "see #1"]
    + ["by @team", "GH-1", "www.evil.example", "> x\n/close", "````\n```\n/close\n````"],
)
def test_the_check_for_text_that_acts_can_fail(text: str):
    assert acting(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://incidents.example:8443/INC-4711?a=b#c", True),
        ("http://wiki/postmortem/4711", True),
        ("https://user:password@incidents.example/", False),
        ("javascript:alert(1)", False),
        ("https://incidents.example/> <img src=x>", False),
        ("https://incidents.example/a b", False),
        ("https://incidents.example/\u202e", False),
        ("https:///x", False),
        ("INC-4711", False),
    ],
)
def test_only_a_plain_web_address_becomes_a_link(text: str, address: bool):
    assert (f"<{text}>" in body(replace(FACTS, incident=text))) is address


def test_a_secret_in_what_is_told_is_masked():
    said = "password=hunter2hunter2"
    assert "hunter2" not in body(replace(FACTS, problems=(said,), why=said, summary=said))
    assert "hunter2" not in commit_message(replace(FACTS, why=said))
    checks = [CheckRun("ci", "failed", "", said)]
    assert "hunter2" not in failure_comment("7f3a1c", said, checks, MARKER)


# --- comments ---------------------------------------------------------------------------------


def test_a_comment_says_what_failed_and_with_which_words():
    checks = [
        CheckRun("validate", "failed", "", "deploy/auth.yaml: unknown field: evn"),
        CheckRun("lint", "passed"),
        CheckRun("e2e", "pending"),
    ]
    told = failure_comment("7f3a1c", "pull_request: 1 of 3 failed", checks, MARKER)
    assert told == (
        f"{MARKER}\n\n"
        "**1 of 3 checks failed.** pull_request: 1 of 3 failed\n\n"
        "`validate` failed:\n\n"
        "```\ndeploy/auth.yaml: unknown field: evn\n```\n\n"
        "Not finished: `e2e`\n\n"
        "The branch stays. `smoldebug undo 7f3a1c` takes it back.\n"
    )
