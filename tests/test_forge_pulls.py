"""One specification for GitHub, GitLab and Gitea: pull requests, checks, and what goes wrong."""

from collections.abc import Iterator

import pytest
from forgeservers import TOKEN, Bench, GitLabServer, bench

from smoldebug.errors import AccessDenied, ChangeRefused, NotFound, UnreachableError
from smoldebug.lab.forge.faults import Rule
from smoldebug.sources.forge.base import BaseForge
from smoldebug.sources.repository import PullRequestText

MARKER = "<!-- smoldebug -->"


@pytest.fixture(scope="module", params=["github", "gitlab", "gitea"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    with bench(request.param, tmp_path_factory.mktemp(request.param)) as found:
        yield found


@pytest.fixture
def forges(running: Bench) -> Iterator[Bench]:
    yield running
    running.faults.clear()


@pytest.fixture
def forge(forges: Bench) -> BaseForge:
    return forges.open()


def text(branch: str, **over: object) -> PullRequestText:
    given = {"title": "Set FEATURE_FLAG", "body": "Why: INC-42", **over}
    return PullRequestText("main", branch, **given)  # type: ignore[arg-type]


# --- a pull request -------------------------------------------------------------------------


def test_a_draft_is_opened_with_its_title_and_body(forges: Bench, forge: BaseForge) -> None:
    branch, commit = forges.branch()
    opened = forge.open(text(branch))
    assert (opened.title, opened.body) == ("Set FEATURE_FLAG", "Why: INC-42")
    assert (opened.state, opened.draft, opened.head) == ("open", True, commit)
    assert opened.url.startswith(f"{forges.url}/shop/manifests/")
    assert forge.find(branch) == opened


def test_one_that_is_no_draft(forges: Bench, forge: BaseForge) -> None:
    opened = forge.open(text(forges.branch()[0], draft=False))
    assert not opened.draft


def test_a_branch_has_one_pull_request_and_opening_again_updates_it(
    forges: Bench, forge: BaseForge
) -> None:
    branch, _ = forges.branch()
    first = forge.open(text(branch))
    again = forge.open(text(branch, title="Set it everywhere", body="More", draft=False))
    assert (again.number, again.title, again.body) == (first.number, "Set it everywhere", "More")
    assert again.draft, "nothing is made ready by itself"


def test_what_somebody_made_ready_stays_ready(forges: Bench, forge: BaseForge) -> None:
    opened = forge.open(text(branch := forges.branch()[0], draft=False))
    assert not forge.update(opened.number, text(branch, draft=True)).draft


def test_a_branch_without_one(forges: Bench, forge: BaseForge) -> None:
    assert forge.find(forges.branch()[0]) is None


def test_a_closed_one_is_found_and_a_new_one_opened(forges: Bench, forge: BaseForge) -> None:
    branch, _ = forges.branch()
    first = forge.open(text(branch))
    forge.close(first.number)
    forge.close(first.number)
    found = forge.find(branch)
    assert found is not None
    assert (found.number, found.state) == (first.number, "closed")
    second = forge.open(text(branch))
    assert second.number != first.number
    assert forge.find(branch) == second


def test_a_merged_one(forges: Bench, forge: BaseForge) -> None:
    branch, _ = forges.branch()
    forges.merge(forge.open(text(branch)).number)
    found = forge.find(branch)
    assert found is not None
    assert found.state == "merged"


def test_labels_are_made_where_they_are_missing_and_never_removed(
    forges: Bench, forge: BaseForge
) -> None:
    branch, _ = forges.branch()
    opened = forge.open(text(branch, labels=("bug", "post-mortem")))
    assert sorted(opened.labels) == ["bug", "post-mortem"]
    again = forge.update(opened.number, text(branch, labels=("urgent",)))
    assert sorted(again.labels) == ["bug", "post-mortem", "urgent"]
    assert forge.notes == []


def test_people_are_added(forges: Bench, forge: BaseForge) -> None:
    branch, _ = forges.branch()
    opened = forge.open(text(branch, reviewers=("alice",), assignees=("bob",)))
    forge.update(opened.number, text(branch, reviewers=("alice", "bob"), assignees=("alice",)))
    reviewers, assignees = forges.people(opened.number)
    assert (reviewers, sorted(assignees)) == (["alice", "bob"], ["alice", "bob"])


def test_a_team_is_asked_or_it_is_told_that_it_was_not(forges: Bench, forge: BaseForge) -> None:
    opened = forge.open(text(forges.branch()[0], reviewers=("shop/platform",)))
    asked = forges.people(opened.number)[0] == ["shop/platform"]
    assert asked == (forges.kind != "gitlab")
    assert any("shop/platform" in note for note in forge.notes) != asked


def test_who_has_no_account_is_a_note_and_fails_nothing(forges: Bench, forge: BaseForge) -> None:
    forges.refuse_people()
    opened = forge.open(text(forges.branch()[0], reviewers=("ghost", "alice")))
    assert opened.state == "open"
    assert forges.people(opened.number)[0] == ["alice"]
    [note] = forge.notes
    assert "reviewer: ghost" in note


def test_a_comment_is_written_once_and_then_replaced(forges: Bench, forge: BaseForge) -> None:
    number = forge.open(text(forges.branch()[0])).number
    forge.comment(number, f"quoted: {MARKER}", "<!-- other -->")
    forge.comment(number, "2 checks pending", MARKER)
    forge.comment(number, "all passed", MARKER)
    assert forges.comments(number)[1:] == [f"{MARKER}\nall passed"]


# --- checks ---------------------------------------------------------------------------------


def test_a_commit_without_checks(forges: Bench, forge: BaseForge) -> None:
    assert forge.checks(forges.branch()[1]) == ()


def test_checks_by_name_the_newest_of_each(forges: Bench, forge: BaseForge) -> None:
    _, commit = forges.branch()
    forges.check(commit, "unit", "failed", "first try")
    forges.check(commit, "unit", "passed")
    forges.check(commit, "lint", "pending")
    forges.check(commit, "optional", "skipped")
    forges.status(commit, "ci/e2e", "passed")
    found = {each.name: each.state for each in forge.checks(commit)}
    assert found == {
        "ci/e2e": "passed",
        "lint": "pending",
        "optional": "skipped",
        "unit": "passed",
    }


def test_a_failed_check_tells_the_end_of_what_it_said(forges: Bench, forge: BaseForge) -> None:
    _, commit = forges.branch()
    forges.check(commit, "unit", "failed", "x" * 9000 + "\x1b[31m\x1b]0;t\x07 assert 1 == 2")
    [check] = forge.checks(commit)
    assert check.url.startswith(f"{forges.url}/shop/manifests/")
    assert check.detail.endswith("x assert 1 == 2")
    assert len(check.detail) <= 2000
    assert "\x1b" not in check.detail


# --- branches -------------------------------------------------------------------------------


def test_protected_branches(forges: Bench, forge: BaseForge) -> None:
    branch, _ = forges.branch()
    assert not forge.protected(branch)
    forges.protect(branch)
    assert forge.protected(branch)
    assert not forge.protected("not/there#1")


# --- what goes wrong ------------------------------------------------------------------------


def test_a_wrong_token(forges: Bench) -> None:
    branch, _ = forges.branch()
    with pytest.raises(AccessDenied, match="does not accept the token in SHOP_TOKEN") as raised:
        forges.open("wrong-token-31").open(text(branch))
    assert "wrong-token-31" not in str(raised.value)


def test_without_a_token_nothing_is_sent_that_needs_one(forges: Bench) -> None:
    with pytest.raises(AccessDenied, match="needs a token to open a pull request, set: SHOP_TOKEN"):
        forges.open("").open(text("smoldebug/patch"))


def test_a_token_that_may_not(forges: Bench, forge: BaseForge) -> None:
    forges.faults.add(Rule("POST", "*", status=403, message=f"no \x1b[1m{forges.token}"))
    with pytest.raises(AccessDenied) as raised:
        forge.open(text(forges.branch()[0]))
    assert "the token in SHOP_TOKEN may not open a pull request in shop/manifests" in str(
        raised.value
    )
    assert raised.value.needs == forge.writes
    assert str(raised.value).endswith("no [token]")


def test_no_such_pull_request(forge: BaseForge) -> None:
    with pytest.raises(NotFound, match="cannot close pull request 999"):
        forge.close(999)


def test_what_is_invalid_is_refused_with_the_forges_words(forges: Bench, forge: BaseForge) -> None:
    with pytest.raises(ChangeRefused, match="refused to open a pull request.*title"):
        forge.open(text(forges.branch()[0], title="", draft=False))


@pytest.mark.parametrize("status", [502, 503])
def test_what_passes_by_itself_is_tried_again(forges: Bench, forge: BaseForge, status: int) -> None:
    forges.faults.add(Rule("*", "*", times=2, status=status))
    began = forges.clock.elapsed
    assert forge.find(forges.branch()[0]) is None
    assert forges.clock.elapsed - began == 3


def test_a_pull_request_that_was_opened_unheard_is_not_opened_twice(
    forges: Bench, forge: BaseForge
) -> None:
    branch, _ = forges.branch()
    forges.faults.add(Rule("POST", "*", status=502, after=True))
    opened = forge.open(text(branch))
    forge.close(opened.number)
    found = forge.find(branch)
    assert found is not None
    assert found.state == "closed"


def test_a_limit_that_ends_soon_is_waited_for(forges: Bench, forge: BaseForge) -> None:
    forges.faults.add(Rule("*", "*", status=429, retry_after=20))
    began = forges.clock.elapsed
    forge.find(forges.branch()[0])
    assert forges.clock.elapsed - began == 20


def test_a_limit_that_does_not_is_told_with_its_end(forges: Bench, forge: BaseForge) -> None:
    forges.faults.add(Rule("*", "*", times=9, status=429, retry_after=1200))
    began = forges.clock.elapsed
    with pytest.raises(
        UnreachableError, match=r"no more requests until \d\d:\d\d:\d\d UTC \(in 20m"
    ):
        forge.find(forges.branch()[0])
    assert forges.clock.elapsed == began


def test_a_forge_that_is_broken(forges: Bench, forge: BaseForge) -> None:
    forges.faults.add(Rule("*", "*", times=9, status=500, message="boom"))
    with pytest.raises(UnreachableError, match="could not read checks: HTTP 500: boom"):
        forge.checks(forges.branch()[1])


def test_a_connection_that_is_cut_once(forges: Bench, forge: BaseForge) -> None:
    forges.faults.add(Rule("*", "*", times=1, drop=True))
    assert forge.find(forges.branch()[0]) is None


def test_a_connection_that_is_always_cut(forges: Bench, forge: BaseForge) -> None:
    forges.faults.add(Rule("*", "*", times=0, drop=True))
    with pytest.raises(UnreachableError, match="closed the connection|connection reset"):
        forge.find(forges.branch()[0])


# --- GitHub's own ---------------------------------------------------------------------------


@pytest.mark.parametrize("running", ["github"], indirect=True)
class TestGitHub:
    def test_a_repository_without_drafts(self, forges: Bench, forge: BaseForge) -> None:
        says = "Draft pull requests are not supported in this repository."
        forges.faults.add(Rule("POST", "*/pulls", status=422, message=says))
        assert not forge.open(text(forges.branch()[0])).draft
        assert "has no drafts" in forge.notes[0]

    def test_a_secondary_limit(self, forges: Bench, forge: BaseForge) -> None:
        forges.faults.add(Rule("POST", "*/pulls", status=403, retry_after=30))
        began = forges.clock.elapsed
        assert forge.open(text(forges.branch()[0])).state == "open"
        assert forges.clock.elapsed - began == 30

    def test_nobody_is_asked_twice(self, forges: Bench, forge: BaseForge) -> None:
        branch, _ = forges.branch()
        number = forge.open(text(branch, reviewers=("alice", "shop/platform"))).number
        forges.faults.add(Rule("POST", "*/requested_reviewers", status=500))
        forge.update(number, text(branch, reviewers=("Alice", "shop/platform")))


# --- GitLab's own ---------------------------------------------------------------------------


@pytest.mark.parametrize("running", ["gitlab"], indirect=True)
class TestGitLab:
    def test_a_plan_with_one_reviewer_is_told(self, forges: GitLabServer, forge: BaseForge) -> None:
        forges.one_reviewer = True
        opened = forge.open(text(forges.branch()[0], reviewers=("alice", "bob")))
        forges.one_reviewer = False
        assert forges.people(opened.number)[0] == ["alice"]
        assert [note.rpartition(": ")[2] for note in forge.notes] == ["bob"]

    def test_a_pipeline_of_merged_results_stands_at_another_commit(
        self, forges: GitLabServer, forge: BaseForge
    ) -> None:
        branch, commit = forges.branch()
        forge.open(text(branch))
        forges.merged_results[commit] = "f" * 40
        forges.check("f" * 40, "unit", "passed")
        assert [check.name for check in forge.checks(commit)] == ["unit"]
        assert TOKEN not in repr(forge.site)
