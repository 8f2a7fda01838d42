"""What CI systems are told: groups, annotations, outputs, a summary, one comment on the request."""

import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from forgeservers import Bench, Kind, bench
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from recorded_upgrade import (
    AP,
    BLAME,
    EU,
    LINE,
    PAYMENTS,
    STORIES,
    US,
    Recording,
    all_good,
    baseline_broken,
    canary_fails,
    cells,
    first_gives_way,
    good,
    one_by_one,
    rolled_back,
    saying,
    second_fails,
    side_by_side,
    unreachable,
)

from smoldebug.cells import Cell, speaking, status
from smoldebug.clock import FakeClock
from smoldebug.errors import AccessDenied, SmoldebugError, UnreachableError, UsageError
from smoldebug.events import Blamed, RunEnded
from smoldebug.lab.forge.faults import Rule
from smoldebug.lab.forge.rest import PREFIX
from smoldebug.playbook.upgrades import Matrix
from smoldebug.records import Gap, Usage
from smoldebug.report import fleet
from smoldebug.report.summary import COMMENT, MOST, comment, marker, summary
from smoldebug.sources.forge.ci import comment as post
from smoldebug.sources.forge.ci import pull_request
from smoldebug.sources.repository import PullRequestText
from smoldebug.status import ExitStatus
from smoldebug.view import OutputFormat, open_view
from smoldebug.view.fleet import open_fleet_view
from smoldebug.view.github import annotations, hand_over, outputs


def log(output: OutputFormat, recordings: Sequence[Recording], *, together: bool = False) -> str:
    out, err = io.StringIO(), io.StringIO()
    matrix = Matrix(cluster=[each.cluster for each in recordings], parallel=3 if together else 1)
    view = open_fleet_view(
        output, matrix, fleet.document, stdout=out, stderr=err, clock=FakeClock()
    )
    for cluster, stamped in (side_by_side if together else one_by_one)(recordings):
        view.show(cluster, stamped)
    told = [each.cell() for each in recordings]
    view.closing(told, fleet.sections(told))
    view.close()
    return err.getvalue()


def told(several: Sequence[Cell]) -> dict[str, tuple[str, ...]]:
    """The report for people, by heading."""
    return {each.heading: each.lines for each in fleet.sections(several)}


# --- the exit status speaks of one cluster ------------------------------------------------------


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ("all_good", (0, None)),
        ("canary_fails", (4, EU)),
        ("second_fails", (4, US)),
        ("first_gives_way", (4, US)),
        ("baseline_broken", (3, EU)),
        ("unreachable", (8, US)),
        ("interrupted", (130, EU)),
        ("rollback_fails", (5, EU)),
    ],
)
def test_which_cluster_the_exit_status_is_about(story: str, expected: tuple[int, str]) -> None:
    told = cells(STORIES[story])
    worst = speaking(told)
    assert (int(status(told)), worst.cluster if worst else None) == expected


@pytest.mark.parametrize(
    ("story", "verdicts"),
    [
        ("second_fails", ["met", "rolled back", "skipped"]),
        ("first_gives_way", ["rolled back", "rolled back", "skipped"]),
        ("baseline_broken", ["inconclusive", "skipped", "skipped"]),
        ("unreachable", ["met", "unreachable", "met"]),
        ("rollback_fails", ["rollback failed", "skipped", "skipped"]),
    ],
)
def test_each_cluster_has_one_word(story: str, verdicts: list[str]) -> None:
    assert [cell.verdict for cell in cells(STORIES[story])] == verdicts


def test_clusters_that_broke_alike_are_named_together() -> None:
    names = ("eu", "us", "ap", "sa", "af")
    broken = [rolled_back(name).cell() for name in names]
    alike = "payments broke eu, us, ap and 2 more (rolled back)"
    assert fleet.headline(broken) == alike
    assert fleet.headline([*broken, good("me").cell()]) == f"{alike}; 1 met"
    assert fleet.headline(cells(baseline_broken)) == "eu-staging inconclusive; 2 skipped"


def test_what_broke_clusters_alike_is_told_once() -> None:
    broken = [rolled_back(name).cell() for name in (EU, US)]
    lines = told(broken)
    back = "back at platform-2.4.0 · taken back, and the goal holds again"
    assert lines["CLUSTERS"] == (
        f"eu-staging  rolled back  1m30s · run reu7f3a · {back}",
        f"us-staging  rolled back  1m30s · run rus7f3a · {back}",
    )
    assert lines["OFFENDER"][:3] == (
        f"{EU}, {US}: Deployment/platform/payments",
        "payments: the new image fails its readiness probe",
        "first failed “rollout complete”, 34s after the first step",
    )
    assert lines["NEXT"] == (
        f"{EU}, {US}:",
        "nothing is left to do there: mend payments, then validate again",
        "$ smoldebug runs show reu7f3a",
    )
    text = summary(broken)
    assert text.count(LINE) == 2  # the quote, and the check that says it
    assert "### `eu-staging`, `us-staging`: rolled back" in text
    assert "Release: `platform-2.4.0 → 2.5.0`" in text


def test_where_all_is_back_after_a_signal_nothing_is_left_to_do() -> None:
    lines = told(cells(STORIES["interrupted"]))
    assert lines["NEXT"][:2] == (f"{EU}:", "nothing is left to do there")
    said = log(OutputFormat.PLAIN, STORIES["interrupted"]())
    assert "stopped by the operator; a second Ctrl-C or SIGTERM leaves it changed\n" in said
    assert "second" not in log(OutputFormat.PLAIN, second_fails())


def test_clusters_that_broke_otherwise_are_told_apart() -> None:
    said = replace(BLAME, reason="payments: no node has room for it")
    other = Recording(US).opening().upgraded().broke(said).taken_back(said.reason)
    lines = told([rolled_back(EU).cell(), other.cell()])["OFFENDER"]
    assert [line for line in lines if "Deployment" in line] == [
        f"{EU}: Deployment/platform/payments",
        f"{US}: Deployment/platform/payments",
    ]


def test_an_upgrade_that_had_nothing_to_do_is_told_from_one_that_was_proven() -> None:
    idle = Recording(EU).opening().held().cell()
    assert fleet.headline([idle]) == "Goal met in 1 of 1 clusters; nothing was changed"
    both = fleet.headline([idle, good(US).cell()])
    assert both == "Goal met in 2 of 2 clusters; nothing was changed in eu-staging"
    assert "::warning title=helm-upgrade eu-staging nothing was changed::" in annotations([idle])


def test_what_a_cluster_is_left_with_is_told_or_said_not_to_be_known() -> None:
    left = {name: [cell.now for cell in cells(story)] for name, story in STORIES.items()}
    assert left["second_fails"] == ["runs platform-2.5.0", "back at platform-2.4.0", ""]
    assert left["first_gives_way"][:2] == ["back at platform-2.4.0"] * 2
    assert left["baseline_broken"][0] == "nothing was changed"
    assert left["interrupted"][0] == "back at platform-2.4.0"
    assert left["rollback_fails"][0] == left["unreachable"][1] == ""
    assert "| **unreachable** | **not settled** |" in summary(cells(unreachable))
    lost = told(cells(unreachable))["CLUSTERS"][1]
    assert "platform-2.4.0 → 2.5.0: not settled" in lost


def test_what_all_clusters_lack_is_said_once() -> None:
    lacking = [Recording(name).opening() for name in (EU, US)]
    for each in lacking:
        gap = Gap("describe: Node", "left out by the playbook")
        each.add(1.0, RunEnded(ExitStatus.MET, "met", "held", Usage(), gaps=(gap,)))
    found = {each.heading: each.lines for each in fleet.sections([each.cell() for each in lacking])}
    assert found["NOT SEEN"] == (f"{EU}, {US}:", "describe: Node: left out by the playbook")


# --- GitHub: the log ----------------------------------------------------------------------------


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("story", STORIES)
def test_groups_are_closed_before_the_next_is_opened(story: str, together: bool) -> None:
    open_, stopped = "", ""
    for line in log(OutputFormat.GITHUB, STORIES[story](), together=together).splitlines():
        if line.startswith("::group::"):
            assert not open_
            open_ = line.removeprefix("::group::")
        elif line.startswith("::stop-commands::"):
            stopped = line.removeprefix("::stop-commands::")
        elif line == f"::{stopped}::":
            stopped = ""
        elif line == "::endgroup::":
            assert not stopped
            open_ = ""
        elif open_:
            assert stopped
            assert line.startswith(f"{open_}  ")
    assert not open_


def test_what_happens_at_the_same_time_is_told_cluster_by_cluster() -> None:
    told = log(OutputFormat.GITHUB, all_good(), together=True)
    names = [line[:10] for line in told.splitlines() if not line.startswith(("::", "VERDICT"))]
    assert names == sorted(names, key=[EU, US, AP].index)
    assert len(names) == 3 * names.count(EU)


def test_the_word_that_lets_commands_through_again_is_another_one_each_time() -> None:
    words = {re.findall(r"stop-commands::(\w+)", log(OutputFormat.GITHUB, all_good()))[0]
             for _ in range(3)}  # fmt: skip
    assert len(words) == 3
    assert all(len(word) == 32 for word in words)


def test_what_became_of_a_cluster_stays_in_sight_when_its_group_is_folded() -> None:
    told = log(OutputFormat.GITHUB, second_fails()).split("::endgroup::\n")
    assert told[1].startswith("eu-staging  met: 20 checks of 5 services held")
    assert told[2].startswith("us-staging  rolled back: payments: the new image")


def test_one_that_is_taken_back_later_gets_a_group_again() -> None:
    recordings = first_gives_way()
    first, later = recordings[0], [each for each in recordings[0].events if each.elapsed > 352]
    before = [each for each in first.events if each.elapsed <= 352]
    merged = [(EU, each) for each in before] + one_by_one(recordings[1:2])
    merged += [(EU, each) for each in later]
    err = io.StringIO()
    matrix = Matrix(cluster=[EU, US])
    view = open_fleet_view(
        OutputFormat.GITHUB, matrix, fleet.document, stdout=io.StringIO(), stderr=err
    )
    for cluster, stamped in merged:
        view.show(cluster, stamped)
    view.close()
    groups = re.findall(r"^::group::(.*)$", err.getvalue(), re.MULTILINE)
    assert groups == [EU, US, EU]


def test_a_job_that_is_cut_off_leaves_nothing_unsaid() -> None:
    err = io.StringIO()
    matrix = Matrix(cluster=[EU, US], parallel=2)
    view = open_fleet_view(
        OutputFormat.GITHUB, matrix, fleet.document, stdout=io.StringIO(), stderr=err
    )
    for cluster in (EU, US):
        for stamped in good(cluster).events[:4]:
            view.show(cluster, stamped)
    assert "us-staging" not in err.getvalue()
    view.close()
    assert err.getvalue().count("us-staging  phase") == 1
    assert err.getvalue().count("::endgroup::") == 2


# --- GitHub: annotations ------------------------------------------------------------------------


def test_a_cluster_that_failed_is_an_error_and_one_that_was_not_begun_a_warning() -> None:
    assert annotations(cells(second_fails)).splitlines() == [
        f"::error title=helm-upgrade us-staging rolled back::{cells(second_fails)[1].reason}",
        f"::warning title=ap-staging skipped::{cells(second_fails)[2].reason}",
    ]
    assert annotations(cells(all_good)) == ""


def test_a_baseline_that_does_not_hold_is_a_warning() -> None:
    assert annotations(cells(baseline_broken)).count("::warning ") == 3


def test_no_more_annotations_than_github_shows() -> None:
    lines = annotations([rolled_back(f"c{number}").cell() for number in range(25)]).splitlines()
    assert len(lines) == 10
    assert lines[-1] == "::error title=smoldebug::and 16 more clusters"
    assert len(annotations([rolled_back(f"c{n}").cell() for n in range(10)]).splitlines()) == 10


@given(st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(), max_size=60)))
def test_an_annotation_is_one_line_whatever_stands_in_it(text: str) -> None:
    odd = replace(saying(text), cluster=f"a:b,c%\r\n{text}")
    lines = annotations([odd.cell()]).split("\n")
    assert lines[1:] == [""]
    found = re.fullmatch(r"::error title=([^:,\r]*)::[^\r]*", lines[0])
    assert found
    assert "a%3Ab%2Cc%25" in found[1]


def test_a_single_run_is_annotated_too() -> None:
    out, err = io.StringIO(), io.StringIO()
    view = open_view(OutputFormat.GITHUB, lambda events: None, stdout=out, stderr=err)
    for stamped in canary_fails()[0].events:
        view.show(stamped)
    view.closing([])
    assert err.getvalue().splitlines()[-1].startswith("::error title=helm-upgrade eu-staging")


# --- GitHub: what later steps read --------------------------------------------------------------


def read_outputs(text: str) -> dict[str, str]:
    """As the runner reads them."""
    found, lines = {}, iter(text.splitlines())
    for line in lines:
        name, _, end = line.partition("<<")
        value = []
        for each in lines:
            if each == end:
                break
            value.append(each)
        found[name] = "\n".join(value)
    return found


def test_later_steps_read_how_it_ended() -> None:
    found = read_outputs(outputs(cells(second_fails), "short\nwords", "junit.xml"))
    assert found == {
        "status": "undone",
        "exit_code": "4",
        "cluster": US,
        "offender": PAYMENTS,
        "report": "junit.xml",
        "summary": "short\nwords",
    }
    assert read_outputs(outputs(cells(all_good), "", ""))["offender"] == ""


def test_no_text_ends_a_value_and_begins_another() -> None:
    evil = "EOF\nexit_code<<EOF\n0\nEOF"
    found = read_outputs(outputs([saying(evil).cell()], evil, evil))
    assert found["exit_code"] == "4"
    assert found["summary"] == evil


def test_summary_and_outputs_are_appended_where_github_says(tmp_path: Path) -> None:
    for name in ("out", "sum"):
        (tmp_path / name).write_text("before\n")
    environ = {
        "GITHUB_OUTPUT": str(tmp_path / "out"), "GITHUB_STEP_SUMMARY": str(tmp_path / "sum")
    }  # fmt: skip
    hand_over(cells(all_good), environ, summary="# all\n", short="all", report="")
    assert (tmp_path / "sum").read_text() == "before\n# all\n"
    assert (tmp_path / "out").read_text().startswith("before\nstatus<<")
    hand_over(cells(all_good), {}, summary="", short="", report="")


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    environ = {"GITHUB_OUTPUT": str(tmp_path / "nowhere" / "out")}
    with pytest.raises(UsageError, match="cannot write to GITHUB_OUTPUT"):
        hand_over(cells(all_good), environ, summary="", short="", report="")


# --- GitLab -------------------------------------------------------------------------------------


def test_sections_of_gitlab_are_folded_by_name_and_time() -> None:
    told = log(OutputFormat.GITLAB, [good("eu/prod: x"), good(US)])
    marks = re.findall(r"\x1b\[0Ksection_(start|end):(\d+):([A-Za-z0-9_.-]+)\r\x1b\[0K", told)
    assert [(what, name) for what, _, name in marks] == [
        ("start", "smoldebug_1_eu_prod__x"),
        ("end", "smoldebug_1_eu_prod__x"),
        ("start", "smoldebug_2_us-staging"),
        ("end", "smoldebug_2_us-staging"),
    ]
    assert told.count("\x1b") == 2 * len(marks)


# --- the summary --------------------------------------------------------------------------------


def rendered(text: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


def test_the_summary_begins_with_a_table() -> None:
    lines = summary(cells(second_fails)).splitlines()
    back = f"`back at platform-2.4.0` | `{PAYMENTS}` | verified"
    assert lines[0].startswith("## helm-upgrade: payments broke us-staging (rolled back)")
    assert lines[2:7] == [
        "| Cluster | Verdict | Now | Offender | Rollback | Seconds |",
        "| --- | --- | --- | --- | --- | ---: |",
        "| `eu-staging` | met | `runs platform-2.5.0` | – | – | 351 |",
        f"| `us-staging` | **rolled back** | {back} | 90 |",
        "| `ap-staging` | skipped | – | – | – | – |",
    ]


def test_then_each_cluster_that_failed_with_its_reason_and_quotes() -> None:
    text = summary(cells(second_fails))
    assert "### `us-staging`: rolled back" in text
    assert f"E3:\n\n```\n{LINE}\n```" in text
    assert "- `Deployment/platform/payments` rollout complete: not met, payments-6f9" in text
    assert "- `smoldebug runs show rus7f3a`" in text
    assert "### `eu-staging`" not in text


def test_a_cluster_that_does_not_answer_says_so_once_and_how_to_settle_it() -> None:
    text = summary(cells(unreachable))
    assert "- 20 checks: inconclusive, us-staging: connection refused" in text
    assert "look whether C1 took effect on HelmRelease/platform/platform" in text


def test_what_a_model_said_is_marked_as_unchecked() -> None:
    told = rolled_back(EU)
    told.events.insert(
        -3, replace(told.events[-1], event=Blamed(BLAME, "The key is new in 2.5.0."))
    )
    assert "> In a model's words, which nobody checked: The key is new in 2.5.0." in summary(
        [told.cell()]
    )


def test_a_long_summary_is_cut_between_two_clusters() -> None:
    many = [
        replace(saying(f"{n} " + "word " * 1000), cluster=f"cluster-{n}").cell() for n in range(400)
    ]
    text = summary(many)
    assert len(text.encode()) <= MOST
    assert text.endswith(
        "More does not fit here: the JUnit file and the journals have all of it.\n"
    )
    last = text.rpartition("### ")[2]
    assert "smoldebug runs show" in last  # the last line of a section
    assert len(comment(many)) <= COMMENT


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("write", [summary, comment])
def test_nothing_in_it_fetches_links_or_is_html(write, text: str) -> None:
    told = [saying(text).cell(), replace(saying(text), cluster=text).cell()]
    found = set()
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(write(told)):
        found |= {token.type, *(child.type for child in token.children or ())}
    found.discard("html_block")  # the marker
    assert not found & {"image", "link_open", "html_inline"}
    assert rendered(write(told)).count("<table>") == 1


@pytest.mark.parametrize("text", ["@team see #1, !2 and GH-3", "closes #7", "/close\n/merge"])
def test_nobody_is_pinged_and_nothing_is_closed(text: str) -> None:
    page = rendered(comment([replace(saying(text), cluster=text).cell()]))
    outside = re.sub(r"<code.*?</code>", "", page, flags=re.DOTALL)
    assert not re.search(r"@team|#\d|!\d|GH-\d|^/", outside, re.MULTILINE)
    assert not re.search(r"^/", comment([saying(text).cell()]), re.MULTILINE)


def test_a_comment_is_short_and_begins_with_its_marker() -> None:
    told = cells(second_fails)
    assert marker(told) == "<!-- smoldebug validate helm-upgrade -->"
    assert comment(told).startswith(f"{marker(told)}\n\n## helm-upgrade: payments broke")
    assert "ap-staging`: skipped" not in comment(told)


@given(st.text(st.characters(), max_size=80))
def test_no_name_of_a_playbook_ends_the_marker(name: str) -> None:
    started = all_good()[0].events[0]
    event = msgspec.structs.replace(started.event, playbook=name)
    found = marker([Cell(EU, [replace(started, event=event)])])
    assert re.fullmatch(r"<!-- smoldebug validate [^<>\s]+ -->", found)
    assert "--" not in found[4:-3]


# --- one comment on the pull request ------------------------------------------------------------


@pytest.fixture(scope="module", params=["github", "gitlab", "gitea"])
def forges(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[Bench]:
    with bench(request.param, tmp_path_factory.mktemp("forge")) as running:
        yield running


def environ(forges: Bench, number: int) -> dict[str, str]:
    """As the forge's CI sets it for a job of a pull request."""
    if forges.kind == "gitlab":
        return {
            "GITLAB_CI": "true",
            "CI_SERVER_URL": forges.url,
            "CI_PROJECT_PATH": "shop/manifests",
            "CI_MERGE_REQUEST_IID": str(number),
            "GITLAB_TOKEN": forges.token,
        }
    found = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_SERVER_URL": forges.url,
        "GITHUB_API_URL": f"{forges.url}{PREFIX}",
        "GITHUB_REPOSITORY": "shop/manifests",
        "GITHUB_REF": f"refs/pull/{number}/merge",
        "GITHUB_TOKEN": forges.token,
    }
    if forges.kind == "gitea":
        found |= {"GITEA_ACTIONS": "true", "GITEA_TOKEN": forges.token}
        found["GITHUB_API_URL"] = f"{forges.url}/api/v1"
    return found


def opened(forges: Bench) -> int:
    branch, _ = forges.branch()
    return forges.open().open(PullRequestText("main", branch, "Upgrade", "Why")).number


def test_the_second_run_brings_the_comment_of_the_first_up_to_date(forges: Bench) -> None:
    number = opened(forges)
    broken, mended = cells(second_fails), cells(all_good)
    told = post(comment(broken), marker(broken), environ(forges, number), forges.clock)
    assert told.endswith(f"pull request {number} of shop/manifests")
    assert "payments broke us-staging" in forges.comments(number)[0]
    post(comment(mended), marker(mended), environ(forges, number), forges.clock)
    (only,) = forges.comments(number)
    assert "Goal met in 3 of 3 clusters" in only


def test_a_forge_that_refuses_is_an_error_to_warn_of(forges: Bench) -> None:
    number = opened(forges)
    forges.faults.add(Rule("*", "*", times=100, status=403, message="read only"))
    try:
        with pytest.raises(AccessDenied, match="403|may not|needs"):
            post("x", "<!-- x -->", environ(forges, number), forges.clock)
    finally:
        forges.faults.clear()


def test_a_forge_that_is_gone_is_an_error_to_warn_of(forges: Bench) -> None:
    gone = {name: re.sub(r":\d+", ":1", value) for name, value in environ(forges, 1).items()}
    with pytest.raises(UnreachableError):
        post("x", "<!-- x -->", gone, forges.clock)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"GITHUB_REPOSITORY": "a/b", "GITHUB_REF": "refs/heads/main"}, None),
        ({"GITHUB_REPOSITORY": "a/b", "GITHUB_REF": "refs/pull/7/merge"}, ("github", "a/b", 7)),
        ({"GITLAB_CI": "true", "CI_PROJECT_PATH": "a/b/c"}, None),
        (
            {"GITLAB_CI": "true", "CI_PROJECT_PATH": "a/b/c", "CI_MERGE_REQUEST_IID": "9"},
            ("gitlab", "a/b/c", 9),
        ),
    ],
)
def test_a_job_knows_its_pull_request(
    variables: dict[str, str], expected: tuple[Kind, str, int] | None
) -> None:
    found = pull_request(variables)
    assert (found and (found[0].kind, found[0].path, found[1])) == expected


@pytest.mark.parametrize(
    ("event", "number"),
    [
        ({"pull_request": {"number": 12}}, 12),
        ({"issue": {"number": 12, "pull_request": {"url": "x"}}}, 12),
        ({"issue": {"number": 12}}, 0),
        ({"pull_request": {"number": "12"}}, 0),
        ([1], 0),
        ("nonsense", 0),
    ],
)
def test_else_by_what_started_it(tmp_path: Path, event: object, number: int) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(event) if event != "nonsense" else "{")
    found = pull_request({"GITHUB_REPOSITORY": "a/b", "GITHUB_EVENT_PATH": str(path)})
    assert (found[1] if found else 0) == number


@pytest.mark.parametrize(
    "variables",
    [
        {"GITHUB_API_URL": "http://evil.example"},
        {"GITHUB_SERVER_URL": "ftp://evil.example"},
        {"GITHUB_REPOSITORY": "a/b/../c"},
        {"GITHUB_REPOSITORY": "a?x=/b"},
        {"GITHUB_TOKEN": "two words"},
    ],
)
def test_a_token_goes_to_no_odd_place(variables: dict[str, str]) -> None:
    given_ = {"GITHUB_REPOSITORY": "a/b", "GITHUB_REF": "refs/pull/7/merge", **variables}
    with pytest.raises(SmoldebugError):
        pull_request(given_)


def test_where_there_is_no_pull_request_nothing_is_said() -> None:
    assert post("x", "<!-- x -->", {}) == "no comment: this job is about no pull request"


def test_every_end_has_a_word() -> None:
    ends = [Recording(EU).ended(each, "so").cell() for each in ExitStatus]
    assert len({cell.verdict for cell in ends}) == len(ExitStatus)
    assert all(isinstance(cell.events[0].event, RunEnded) for cell in ends)
