"""The practice forge, driven by real git and by PyGithub, the client that production uses."""

import gzip
import http.client
import json
import os
import random
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cached_property
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from github import Auth, Github, GithubException
from github.PullRequest import PullRequest
from github.Repository import Repository
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.cli import program
from smoldebug.errors import ToolError, UsageError
from smoldebug.lab import control
from smoldebug.lab.forge.checks import configured
from smoldebug.lab.forge.faults import Rule
from smoldebug.lab.forge.server import Forge, serve_forge

CHECK = "import sys; text = open('app.yaml').read(); print(text, end=''); sys.exit('bad' in text)"
CONFIG = json.dumps({"checks": [{"name": "validate", "run": ["python3", "-c", CHECK]}]})
FILES = {"app.yaml": "replicas: 1\n", ".github/CODEOWNERS": "* @alice\n", ".lab-ci.yaml": CONFIG}


class Checkout:
    """Somebody's clone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        identity = [
            "-c",
            "user.name=Ann",
            "-c",
            "user.email=ann@example.org",
            "-c",
            "push.default=current",
        ]
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_TERMINAL_PROMPT": "0"}
        return subprocess.run(
            ["git", *identity, *arguments],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )

    def ok(self, *arguments: str) -> str:
        done = self.git(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, path: str, text: str) -> str:
        (self.folder / path).write_text(text, "utf-8")
        self.ok("add", "--all")
        self.ok("commit", "--quiet", "--message", f"Change {path}")
        return self.ok("rev-parse", "HEAD")

    def propose(self, branch: str, text: str = "replicas: 2\n") -> str:
        """A branch with one commit, pushed."""
        self.ok("switch", "--quiet", "--create", branch, "origin/main")
        commit = self.commit("app.yaml", text)
        self.ok("push", "--quiet", "origin", branch)
        return commit


class Shop:
    """A repository of its own: a client for it, and a clone."""

    def __init__(self, forge: Forge, client: Github, folder: Path, name: str) -> None:
        self.forge, self.name, self._folder = forge, name, folder
        self.url = forge.create_repository(name, plain_folder(folder / "files"))
        self.api: Repository = client.get_repo(name)

    @cached_property
    def clone(self) -> Checkout:
        bare = self.forge.folder / "repos" / f"{self.name}.git"  # quicker than through HTTP
        pushes = f"remote.origin.pushurl={with_token(self.forge, self.url)}"
        Checkout(self._folder).ok("clone", "--quiet", "--config", pushes, str(bare), "clone")
        return Checkout(self._folder / "clone")

    def pull(self, branch: str = "fix", text: str = "replicas: 2\n") -> PullRequest:
        """A branch that is pushed, and a draft of it."""
        self.clone.propose(branch, text)
        return self.open(branch)

    def open(self, branch: str, base: str = "main") -> PullRequest:
        return self.api.create_pull(base, branch, title="Fix", body="Why", draft=True)

    def again(self, pull: PullRequest) -> PullRequest:
        return self.api.get_pull(pull.number)

    def checks(self, commit: str) -> dict[str, str]:
        assert self.forge.wait_for_checks(30)
        return {run.name: run.conclusion for run in self.api.get_commit(commit).get_check_runs()}


def plain_folder(folder: Path, files: dict[str, str] = FILES) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    return folder


def with_token(forge: Forge, url: str) -> str:
    return url.replace("http://", f"http://x:{forge.token}@")


def client_of(forge: Forge, token: str = "") -> Github:
    return Github(
        base_url=forge.api_url,
        auth=Auth.Token(token or forge.token),
        retry=None,
        seconds_between_requests=None,
        seconds_between_writes=None,
    )


def ask(
    forge: Forge, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """A request as it is: status, headers, body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(http.client.HTTPConnection(urlsplit(forge.url).netloc, timeout=10)) as connection:
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()


def refused(call: Callable[[], object]) -> GithubException:
    with pytest.raises(GithubException) as caught:
        call()
    return caught.value


def reason(error: GithubException) -> str:
    return str(error.data["errors"][0].get("message", error.data["errors"][0]))


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    with serve_forge(tmp_path_factory.mktemp("forge")) as running:
        yield running


@pytest.fixture(scope="module")
def client(forge: Forge) -> Iterator[Github]:
    with closing(client_of(forge)) as github:
        yield github


@pytest.fixture(scope="module")
def unchanged(forge: Forge, client: Github, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """For tests that leave it as it is."""
    return Shop(forge, client, tmp_path_factory.mktemp("unchanged"), "shop/unchanged")


_numbers = count(1)


@pytest.fixture
def shop(forge: Forge, client: Github, tmp_path: Path) -> Iterator[Shop]:
    yield Shop(forge, client, tmp_path, f"shop/manifests-{next(_numbers)}")
    forge.faults.clear()


# -- git


def test_what_is_pushed_is_fetched(shop: Shop, tmp_path: Path) -> None:
    commit = shop.clone.propose("fix/replicas")
    other = Checkout(tmp_path / "other")
    Checkout(tmp_path).ok("clone", "--quiet", with_token(shop.forge, shop.url), "other")
    assert other.ok("rev-parse", "origin/fix/replicas") == commit
    newer = shop.clone.commit("app.yaml", "replicas: 3\n")
    shop.clone.ok("push", "--quiet")
    other.ok("fetch", "--quiet")
    assert other.ok("show", "origin/fix/replicas:app.yaml") == "replicas: 3"
    assert other.ok("rev-parse", "origin/fix/replicas") == newer


def test_a_push_of_megabytes_arrives_whole(shop: Shop, tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(4 << 20)  # does not compress: git sends it in chunks
    (shop.clone.folder / "noise").write_bytes(noise)
    shop.clone.propose("big")
    Checkout(tmp_path).ok("clone", "-q", "-b", "big", with_token(shop.forge, shop.url), "other")
    assert (tmp_path / "other/noise").read_bytes() == noise


def test_a_compressed_request_is_understood(unchanged: Shop) -> None:
    wants = b"0014command=ls-refs\n0014agent=git/2.39.50000"
    path = f"/{unchanged.name}.git/git-upload-pack"
    headers = {
        "Authorization": f"Bearer {unchanged.forge.token}",
        "Content_Type": "application/x-git-upload-pack-request",
        "Git_Protocol": "version=2",
    }
    plain = ask(unchanged.forge, "POST", path, wants, **headers)
    small = ask(
        unchanged.forge, "POST", path, gzip.compress(wants), Content_Encoding="gzip", **headers
    )
    assert b"refs/heads/main" in plain[2]
    assert (small[0], small[2]) == (200, plain[2])


def test_git_without_the_token_is_asked_for_it(unchanged: Shop, tmp_path: Path) -> None:
    path = f"/{unchanged.name}.git/info/refs?service=git-upload-pack"
    status, headers, _ = ask(unchanged.forge, "GET", path)
    assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="lab forge"')
    wrong = b64encode(b"x:wrong").decode()
    assert ask(unchanged.forge, "GET", path, Authorization=f"Basic {wrong}")[0] == 401
    assert ask(unchanged.forge, "GET", path, Authorization="Basic ?")[0] == 401
    told = (
        Checkout(tmp_path).git("clone", unchanged.url.replace("//", "//x:wrong@"), "other").stderr
    )
    assert "Authentication failed" in told


@pytest.mark.parametrize(
    "path",
    [
        "/shop/none.git/info/refs?service=git-upload-pack",
        "/shop/../../etc.git/info/refs?service=git-upload-pack",
        "/..%2f/x.git/info/refs?service=git-upload-pack",
        "/shop/{name}.git/HEAD",
        "/shop/{name}.git/objects/info/packs",
        "/shop/{name}.git/../../token",
    ],
)
def test_nothing_but_repositories_is_served(unchanged: Shop, path: str) -> None:
    path = path.replace("{name}", unchanged.name.partition("/")[2])
    status, _, body = ask(
        unchanged.forge, "GET", path, Authorization=f"token {unchanged.forge.token}"
    )
    assert status == 404
    assert unchanged.forge.token.encode() not in body


def test_a_protected_branch_takes_no_push(shop: Shop) -> None:
    main = shop.api.get_branch("main")
    assert not main.protected
    main.edit_protection(enforce_admins=True)
    assert shop.api.get_branch("main").protected
    shop.clone.commit("app.yaml", "replicas: 5\n")
    told = shop.clone.git("push", "origin", "HEAD:main")
    assert told.returncode == 1
    assert "GH006: Protected branch update failed for refs/heads/main" in told.stderr
    assert "[remote rejected]" in told.stderr
    shop.clone.ok("push", "--quiet", "origin", "HEAD:other")
    main.remove_protection()
    shop.clone.ok("push", "--quiet", "origin", "HEAD:main")


# -- pull requests


def test_the_forge_says_what_it_is(client: Github, unchanged: Shop) -> None:
    assert client.get_user().login == "lab-forge"
    assert client.get_rate_limit().rate.remaining > 0
    assert client.requester.requestJsonAndCheck("GET", "/meta")[1]["installed_version"]
    assert unchanged.api.full_name == unchanged.name
    assert unchanged.api.default_branch == "main"
    assert unchanged.api.clone_url == unchanged.url


def test_a_pull_request_is_opened_as_a_draft_and_found(shop: Shop) -> None:
    commit = shop.clone.propose("fix/replicas")
    pull = shop.open("fix/replicas")
    assert (pull.number, pull.state, pull.draft, pull.merged) == (1, "open", True, False)
    assert (pull.head.ref, pull.head.sha, pull.base.ref) == ("fix/replicas", commit, "main")
    assert (pull.commits, pull.additions, pull.deletions, pull.changed_files) == (1, 1, 1, 1)
    assert pull.mergeable
    assert pull.html_url == f"{shop.forge.url}/{shop.name}/pull/1"
    (file,) = pull.get_files()
    assert (file.filename, file.status) == ("app.yaml", "modified")
    assert file.patch == "@@ -1 +1 @@\n-replicas: 1\n+replicas: 2"
    assert [each.sha for each in pull.get_commits()] == [commit]
    found = shop.api.get_pulls(state="all", head="shop:fix/replicas")
    assert [each.number for each in found] == [1]
    assert not list(shop.api.get_pulls(state="all", head="shop:other"))
    assert not list(shop.api.get_pulls(state="closed"))


def test_a_pull_request_is_edited_and_furnished(shop: Shop) -> None:
    pull = shop.pull()
    pull.edit(title="Better", body="Because")
    pull.add_to_labels("smoldebug", "incident")
    pull.add_to_labels("smoldebug")
    pull.create_review_request(reviewers=["alice"], team_reviewers=["sre"])
    pull.add_to_assignees("bob")
    pull = shop.again(pull)
    assert (pull.title, pull.body) == ("Better", "Because")
    assert [label.name for label in pull.labels] == ["smoldebug", "incident"]
    assert [label.name for label in shop.api.get_labels()] == ["smoldebug", "incident"]
    users, teams = pull.get_review_requests()
    assert [user.login for user in users] == ["alice"]
    assert [team.slug for team in teams] == ["sre"]
    assert [user.login for user in pull.assignees] == ["bob"]
    assert not list(pull.get_reviews())
    pull.remove_from_labels("incident")
    pull.delete_review_request(reviewers=["alice"])
    pull.remove_from_assignees("bob")
    pull = shop.again(pull)
    assert [label.name for label in pull.labels] == ["smoldebug"]
    assert not pull.requested_reviewers
    assert not pull.assignees


def test_a_pull_request_may_be_huge(shop: Shop) -> None:
    deep = shop.clone.folder.joinpath(*["d" * 250] * 12)
    deep.mkdir(parents=True)
    for number in range(200):  # with their paths, more than a megabyte of `git diff --numstat`
        (deep / f"{number}.yaml").write_text("a: 1\n")
    pull = shop.pull("fix")
    assert (pull.changed_files, pull.additions, pull.deletions) == (201, 201, 1)


def test_comments_are_written_listed_and_replaced(shop: Shop) -> None:
    pull = shop.pull()
    comment = pull.create_issue_comment("Checks failed <!-- smoldebug -->")
    pull.get_issue_comment(comment.id).edit("Checks passed <!-- smoldebug -->")
    assert [each.body for each in pull.get_issue_comments()] == ["Checks passed <!-- smoldebug -->"]
    assert shop.again(pull).comments == 1
    comment.delete()
    assert not list(pull.get_issue_comments())


def test_lists_come_page_by_page(shop: Shop) -> None:
    pull = shop.pull()
    pull.add_to_labels(*(f"label-{number:02}" for number in range(65)))
    assert len(list(shop.api.get_labels())) == 65
    path = f"/api/v3/repos/{shop.name}/labels?per_page=30&page=2"
    _, headers, body = ask(shop.forge, "GET", path, Authorization=f"token {shop.forge.token}")
    assert [label["name"] for label in json.loads(body)][0] == "label-30"
    assert '?per_page=30&page=3>; rel="next"' in headers["Link"]


def test_one_branch_has_one_pull_request(shop: Shop) -> None:
    shop.pull("fix")
    error = refused(lambda: shop.open("fix"))
    assert (error.status, reason(error)) == (422, "A pull request already exists for shop:fix.")


def test_what_cannot_be_opened_is_refused_in_githubs_words(shop: Shop) -> None:
    shop.clone.ok("push", "--quiet", "origin", "main:same")
    error = refused(lambda: shop.open("same"))
    assert (error.status, reason(error)) == (422, "No commits between main and same")
    shop.clone.propose("fix")
    entry = {"resource": "PullRequest", "code": "invalid"}
    error = refused(lambda: shop.open("none"))
    assert error.data["errors"] == [entry | {"field": "head"}]
    error = refused(lambda: shop.open("fix", base="none"))
    assert error.data["errors"] == [entry | {"field": "base"}]
    error = refused(lambda: shop.api.create_pull("main", "fix", title="A", body="x" * 65_537))
    assert reason(error) == "body is too long (maximum is 65536 characters)"
    assert not list(shop.api.get_pulls(state="all"))


def test_a_pull_request_follows_its_branch_and_closes_with_it(shop: Shop) -> None:
    pull = shop.pull("fix")
    newer = shop.clone.commit("app.yaml", "replicas: 3\n")
    shop.clone.ok("push", "--quiet")
    assert shop.again(pull).head.sha == newer
    shop.clone.ok("push", "--quiet", "origin", "--delete", "fix")
    gone = shop.again(pull)
    assert (gone.state, gone.merged, gone.head.sha) == ("closed", False, newer)
    error = refused(lambda: gone.edit(state="open"))
    assert reason(error) == "state cannot be changed. The fix branch has been deleted."
    shop.clone.ok("push", "--quiet", "origin", "fix")
    gone.edit(state="open")
    assert shop.again(pull).state == "open"


def test_a_branch_reset_to_its_base_closes_the_pull_request(shop: Shop) -> None:
    pull = shop.pull("fix")
    shop.clone.ok("push", "--quiet", "--force", "origin", "origin/main:fix")
    assert (shop.again(pull).state, shop.again(pull).merged) == ("closed", False)


def test_a_closed_pull_request_opens_again_but_not_beside_another(shop: Shop) -> None:
    pull = shop.pull("fix")
    pull.edit(state="closed")
    assert shop.again(pull).state == "closed"
    other = shop.open("fix")
    assert "already exists" in reason(refused(lambda: pull.edit(state="open")))
    found = shop.api.get_pulls(state="all", head="shop:fix")
    assert [each.number for each in found] == [other.number, pull.number]


@pytest.mark.parametrize(("method", "parents"), [("merge", 2), ("squash", 1)])
def test_a_pull_request_is_merged_once_it_is_ready(shop: Shop, method: str, parents: int) -> None:
    pull = shop.pull("fix")
    assert refused(lambda: pull.merge(merge_method=method)).status == 405
    pull.mark_ready_for_review()
    assert not shop.again(pull).draft
    done = pull.merge(merge_method=method, sha=pull.head.sha)
    merged = shop.again(pull)
    assert (merged.state, merged.merged, merged.merge_commit_sha) == ("closed", True, done.sha)
    assert merged.merged_at
    commit = shop.api.get_branch("main").commit
    assert (commit.sha, len(commit.parents)) == (done.sha, parents)
    shop.clone.ok("fetch", "--quiet")
    assert shop.clone.ok("show", "origin/main:app.yaml") == "replicas: 2"


def test_conflicts_and_surprises_are_not_merged(shop: Shop) -> None:
    first, second = shop.pull("one", "replicas: 2\n"), shop.pull("two", "replicas: 3\n")
    for pull in (first, second):
        pull.mark_ready_for_review()
    assert refused(lambda: first.merge(sha="0" * 40)).status == 409
    first.merge()
    assert shop.again(second).mergeable is False
    assert refused(second.merge).status == 405


def test_a_pull_request_whose_commits_reach_its_base_is_merged(shop: Shop) -> None:
    pull = shop.pull("fix")
    shop.clone.ok("push", "--quiet", "origin", "fix:main")
    assert (shop.again(pull).state, shop.again(pull).merged) == ("closed", True)


def test_files_branches_and_refs_are_read_and_written(shop: Shop) -> None:
    file = shop.api.get_contents(".github/CODEOWNERS")
    assert not isinstance(file, list)
    assert file.decoded_content == b"* @alice\n"
    listed = shop.api.get_contents(".github")
    assert isinstance(listed, list)
    assert [each.path for each in listed] == [".github/CODEOWNERS"]
    assert refused(lambda: shop.api.get_contents("docs/CODEOWNERS")).status == 404
    main = shop.api.get_git_ref("heads/main").object.sha
    ref = shop.api.create_git_ref("refs/heads/made/here", main)
    assert {branch.name for branch in shop.api.get_branches()} == {"main", "made/here"}
    assert refused(lambda: shop.api.create_git_ref("refs/heads/made/here", main)).status == 422
    commit = shop.clone.propose("fix")
    ref.edit(commit)
    assert shop.api.get_branch("made/here").commit.sha == commit
    assert refused(lambda: ref.edit(main)).status == 422  # no fast forward
    ref.delete()
    assert refused(lambda: shop.api.get_branch("made/here")).status == 404
    compared = shop.api.compare("main", "fix")
    assert (compared.status, compared.ahead_by, compared.behind_by) == ("ahead", 1, 0)


# -- checks


def test_checks_run_on_the_commits_of_a_pull_request(shop: Shop) -> None:
    pull = shop.pull("fix")
    assert shop.checks(pull.head.sha) == {"validate": "success"}
    bad = shop.clone.commit("app.yaml", "bad: 1\n")
    shop.clone.ok("push", "--quiet")
    assert shop.checks(bad) == {"validate": "failure"}
    (run,) = shop.api.get_commit(bad).get_check_runs()
    assert (run.status, run.output.title) == ("completed", "validate failed")
    assert (run.output.summary, run.output.text) == ("exit status 1: bad: 1", "bad: 1\n")
    assert shop.api.get_check_run(run.id).name == "validate"
    assert not shop.checks(shop.clone.ok("rev-parse", "origin/main"))


def test_a_pull_request_cannot_change_what_is_run(shop: Shop) -> None:
    (shop.clone.folder / ".lab-ci.yaml").write_text("checks: [{name: mine, run: ['true']}]")
    pull = shop.pull("fix", "bad: 1\n")
    assert shop.checks(pull.head.sha) == {"validate": "failure"}


@pytest.mark.parametrize(
    ("config", "conclusion", "said"),
    [
        ("checks: [{name: a, run: [no-such-program]}]", "failure", "command not found"),
        ("checks: [{name: a, run: not-a-list}]", "failure", "wants `checks:"),
        ("checks: [", "failure", "is no YAML"),
        ("checks: [{name: a, run: [sh, -c, env]}]", "success", "CI=true"),
    ],
)
def test_what_a_check_says_is_kept(
    forge: Forge, client: Github, tmp_path: Path, config: str, conclusion: str, said: str
) -> None:
    files = plain_folder(tmp_path / "files", FILES | {".lab-ci.yaml": config})
    name = f"shop/checked-{next(_numbers)}"
    url = forge.create_repository(name, files)
    Checkout(tmp_path).ok("clone", "--quiet", with_token(forge, url), "clone")
    Checkout(tmp_path / "clone").propose("fix")
    api = client.get_repo(name)
    pull = api.create_pull("main", "fix", title="Fix")
    assert forge.wait_for_checks(30)
    (run,) = api.get_commit(pull.head.sha).get_check_runs()
    assert run.conclusion == conclusion
    assert said in run.output.text
    assert forge.token not in run.output.text


def test_commit_statuses_are_combined(shop: Shop) -> None:
    commit = shop.api.get_commit(shop.clone.propose("fix"))
    assert (commit.get_combined_status().state, commit.get_combined_status().total_count) == (
        "pending",
        0,
    )
    commit.create_status("pending", context="ci/lint")
    commit.create_status("success", context="ci/lint", description="fine")
    assert commit.get_combined_status().state == "success"
    commit.create_status("error", context="ci/build", target_url="https://ci.example.org/1")
    combined = commit.get_combined_status()
    assert combined.state == "failure"
    assert {status.context: status.state for status in combined.statuses} == {
        "ci/lint": "success",
        "ci/build": "error",
    }
    assert len(list(commit.get_statuses())) == 3


@given(
    st.one_of(
        st.binary(max_size=200), st.text(alphabet="checks: [{namerun}]-\n'1&*").map(str.encode)
    )
)
def test_a_configuration_of_checks_is_read_or_refused(content: bytes) -> None:
    try:
        commands = configured(content)
    except ToolError:
        return
    assert all(command.argv for command in commands)


# -- what goes wrong


@pytest.mark.parametrize(
    ("rule", "status", "message"),
    [
        (Rule(status=401), 401, "Bad credentials"),
        (Rule(status=403), 403, "Resource not accessible"),
        (Rule(status=403, retry_after=7), 403, "secondary rate limit"),
        (Rule(status=404), 404, "Not Found"),
        (Rule(status=422, message="Nothing to merge"), 422, "Nothing to merge"),
        (Rule(status=429, retry_after=7), 429, "API rate limit exceeded"),
        (Rule(status=500), 500, "Server Error"),
    ],
)
def test_requests_fail_as_often_as_they_are_told(
    unchanged: Shop, rule: Rule, status: int, message: str
) -> None:
    path = f"/api/v3/repos/{unchanged.name}/pulls*"
    wanted = {"method": "GET", "path": path, "times": 2, "status": rule.status}
    wanted |= {"message": rule.message, "retry_after": rule.retry_after}
    token = f"Bearer {unchanged.forge.token}"
    body = json.dumps(wanted).encode()
    assert ask(unchanged.forge, "POST", "/lab/faults", body, Authorization=token)[0] == 200
    for _ in range(2):
        error = refused(lambda: list(unchanged.api.get_pulls()))
        assert error.status == status
        assert message in json.dumps(error.data)
        if rule.retry_after:
            headers = {name.lower(): value for name, value in (error.headers or {}).items()}
            assert headers["retry-after"] == "7"
            assert (headers["x-ratelimit-remaining"] == "0") == (status == 429)
    assert not list(unchanged.api.get_pulls())


def test_bad_credentials_and_bad_bodies_are_refused(unchanged: Shop) -> None:
    with closing(client_of(unchanged.forge, "wrong")) as stranger:
        error = refused(lambda: stranger.get_user().login)
    assert (error.status, error.data["message"]) == (401, "Bad credentials")
    token = f"Bearer {unchanged.forge.token}"
    path = f"/api/v3/repos/{unchanged.name}/pulls"
    assert ask(unchanged.forge, "GET", path)[0] == 401
    assert ask(unchanged.forge, "POST", path, b"{", Authorization=token)[0] == 400
    assert ask(unchanged.forge, "POST", path, b"[]", Authorization=token)[0] == 400
    assert ask(unchanged.forge, "POST", path, b" " * (2 << 20), Authorization=token)[0] == 413
    assert ask(unchanged.forge, "GET", "/api/v3/nothing", Authorization=token)[0] == 404
    assert ask(unchanged.forge, "GET", path, Authorization=token, Host="evil.example")[0] == 403
    origin = "https://evil.example"
    assert ask(unchanged.forge, "GET", path, Authorization=token, Origin=origin)[0] == 403


def test_the_network_is_cut_after_a_push_that_arrived(shop: Shop) -> None:
    path = f"/{shop.name}.git/git-receive-pack"
    shop.forge.faults.add(Rule("POST", path, drop=True, after=True))
    shop.clone.ok("switch", "--quiet", "--create", "fix")
    commit = shop.clone.commit("app.yaml", "replicas: 2\n")
    assert shop.clone.git("push", "origin", "fix").returncode != 0
    assert shop.api.get_branch("fix").commit.sha == commit
    assert "up-to-date" in shop.clone.git("push", "origin", "fix").stderr


def test_a_push_is_denied_by_the_server_or_by_a_hook(shop: Shop) -> None:
    shop.clone.commit("app.yaml", "replicas: 2\n")
    path = f"/{shop.name}.git/info/refs[?]service=git-receive-pack"
    shop.forge.faults.add(Rule("GET", path, status=403, message="Permission denied to lab-forge."))
    told = shop.clone.git("push", "origin", "HEAD:fix").stderr
    assert "Permission denied to lab-forge." in told
    assert "403" in told
    shop.forge.faults.add(Rule("PUSH", f"/{shop.name}", message="no secrets, please"))
    told = shop.clone.git("push", "origin", "HEAD:fix").stderr
    assert "remote: no secrets, please" in told
    assert "(pre-receive hook declined)" in told
    shop.clone.ok("push", "--quiet", "origin", "HEAD:fix")


def test_a_check_fails_or_takes_its_time_as_told(shop: Shop) -> None:
    shop.forge.faults.add(Rule("CHECK", f"/{shop.name}/validate", status=1, message="no runner"))
    assert shop.checks(shop.pull("one").head.sha) == {"validate": "failure"}
    shop.forge.faults.add(Rule("CHECK", f"/{shop.name}/validate", delay=0.2))
    slow = shop.pull("two", "replicas: 3\n").head.sha
    (run,) = shop.api.get_commit(slow).get_check_runs()
    assert run.status in ("queued", "in_progress")
    assert run.conclusion is None
    assert shop.checks(slow) == {"validate": "success"}


# -- pages, restarts, the command line


def test_printed_addresses_open_as_plain_text(shop: Shop) -> None:
    pull = shop.pull("fix")
    pull.edit(title="Fix \x1b]0;x\x07<script>")
    assert shop.checks(pull.head.sha)
    (run,) = shop.api.get_commit(pull.head.sha).get_check_runs()
    status, headers, body = ask(shop.forge, "GET", urlsplit(pull.html_url).path)
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert headers["X-Content-Type-Options"] == "nosniff"
    text = body.decode()
    assert text.startswith(f"{shop.name} #1: Fix <script>\ndraft: fix into main")
    assert "check validate: success" in text
    assert "app.yaml  +1 -1" in text
    assert "exit status 0" in ask(shop.forge, "GET", urlsplit(run.html_url).path)[2].decode()
    compared = ask(shop.forge, "GET", f"/{shop.name}/compare/main...fix?expand=1")[2].decode()
    assert "Change app.yaml" in compared
    assert ask(shop.forge, "GET", f"/{shop.name}/pull/99")[0] == 404


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    with serve_forge(tmp_path / "forge") as forge, closing(client_of(forge)) as client:
        shop = Shop(forge, client, tmp_path, "shop/manifests")
        forge.faults.add(Rule("CHECK", delay=60))
        pull = shop.pull("fix")
        pull.create_issue_comment("mine")
        token = forge.token
    with serve_forge(tmp_path / "forge") as forge, closing(client_of(forge, token)) as client:
        api = client.get_repo("shop/manifests")
        again = api.get_pull(pull.number)
        assert (again.state, again.head.sha) == ("open", pull.head.sha)
        assert [comment.body for comment in again.get_issue_comments()] == ["mine"]
        assert forge.wait_for_checks(30)
        (run,) = api.get_commit(again.head.sha).get_check_runs()
        assert run.conclusion == "success"  # which was cut short before


@pytest.mark.parametrize(
    "name", ["shop", "../shop/x", "shop/..", "shop/x.git", "-x/y", "shop/a b", "shop/x/y", "s/"]
)
def test_names_that_could_lead_elsewhere_are_refused(
    forge: Forge, tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError, match="OWNER/NAME"):
        forge.create_repository(name, tmp_path)


def test_a_state_that_nobody_can_read_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(UsageError, match=r"state\.json"), serve_forge(tmp_path):
        pass
    assert (tmp_path / "state.json").read_text() == "{"


def test_the_command_starts_lists_and_stops_a_forge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = plain_folder(tmp_path / "files")
    folder = ["--dir", str(tmp_path / "lab")]
    up = ["lab", "forge", "up", "--repo", f"shop/manifests={files}", *folder]
    try:
        assert program(up) == 0
        told = capsys.readouterr()
        info = control.find(tmp_path / "lab/forge")
        assert info is not None
        assert told.out == f"git clone {info.url}/shop/manifests.git\n"
        assert (tmp_path / "lab/forge/token").read_text().strip() == info.token
        assert info.token not in told.out + told.err
        assert program(up) == 0  # is up, and has it
        assert program(["lab", "forge", "status", "-o", "json", *folder]) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert [each["name"] for each in found["repositories"]] == ["shop/manifests"]
    finally:
        assert program(["lab", "forge", "down", *folder]) == 0
    assert program(["lab", "forge", "status", *folder]) == 1
