"""Which forge a remote belongs to, and where its token goes: there and nowhere else."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from clusters import web_server
from forgeservers import Kind, OddServer, serving
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.errors import AccessDenied, SmoldebugError, UnreachableError, UsageError
from smoldebug.playbook.patches import PullRequestTool
from smoldebug.sources.forge.base import BaseForge
from smoldebug.sources.forge.open import PUBLIC, compare_url, open_forge
from smoldebug.sources.forge.remote import Remote, parse
from smoldebug.sources.forge.site import forge_token
from smoldebug.sources.repository import PullRequestText

TEXT = PullRequestText("main", "smoldebug/patch", "t", "b", labels=("x",), reviewers=("alice",))


class Tokens:
    """Gives a token to everybody and writes down to whom."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str]] = []

    def __call__(self, kind: str, host: str) -> str:
        self.given.append((kind, host))
        return "s3cret-token"


def opened(url: str, forge: Kind = "auto", host: str = "") -> tuple[BaseForge | None, Tokens]:
    tokens = Tokens()
    found = open_forge(PullRequestTool(forge=forge, host=host), url, tokens)
    assert found is None or isinstance(found, BaseForge)
    return found, tokens


# --- URLs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("https://github.com/shop/manifests.git", Remote("https", "github.com", "shop/manifests")),
        ("https://GitHub.com/shop/manifests/", Remote("https", "github.com", "shop/manifests")),
        ("https://me:pw@gitlab.com/a/b/c", Remote("https", "gitlab.com", "a/b/c")),
        ("https://git.corp:8443/a/b", Remote("https", "git.corp:8443", "a/b")),
        ("https://git.corp:443/a/b", Remote("https", "git.corp", "a/b")),
        ("http://127.0.0.1:3000/a/b", Remote("http", "127.0.0.1:3000", "a/b")),
        ("http://[::1]:3000/a/b", Remote("http", "[::1]:3000", "a/b")),
        ("git@github.com:shop/manifests.git", Remote("ssh", "github.com", "shop/manifests")),
        ("github.com:shop/manifests", Remote("ssh", "github.com", "shop/manifests")),
        ("ssh://git@git.corp:2222/a/b.git", Remote("ssh", "git.corp", "a/b")),
        ("ssh://git@ssh.github.com:443/a/b", Remote("ssh", "github.com", "a/b")),
        ("https://github.com.evil.example/a/b", Remote("https", "github.com.evil.example", "a/b")),
        ("https://github.com@evil.example/a/b", Remote("https", "evil.example", "a/b")),
        ("/srv/git/manifests.git", None),
        ("../manifests", None),
        ("--upload-pack=touch /tmp/x", None),
        ("", None),
    ],
)
def test_a_remote_is_read_as_git_reads_it(url: str, remote: Remote | None) -> None:
    assert parse(url) == remote


@pytest.mark.parametrize(
    "url",
    [
        "file:///srv/git/manifests.git",
        "git://git.corp/a/b",
        "ext::sh -c touch% /tmp/x",
        "https://github.com\\@evil.example/a/b",
        "https://github.com/a/b\n.evil",
        "https:///a/b",
        "ssh://-oProxyCommand=x/a/b",
        "git@-oProxyCommand=x:a/b",
        "https://[::1/a/b",
        "https://gіthub.com/a/b",  # a Cyrillic letter
    ],
)
def test_a_url_made_to_be_misread_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        parse(url)


@pytest.mark.parametrize("path", ["..", "a", "a/..", "a/b/c", "a/b?x=1", "a/%2e%2e", "a/-b", "/"])
def test_a_forge_gets_only_what_can_be_a_repository(path: str) -> None:
    with pytest.raises(UsageError, match="not (a repository of github.com|an address of)"):
        opened(f"https://github.com/{path}")


def test_gitlab_has_groups_in_groups() -> None:
    found, _ = opened("git@gitlab.com:shop/platform/manifests.git")
    assert found is not None
    assert found.site.path == "shop/platform/manifests"


NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True).filter(
    lambda name: not name.endswith(".git") and name not in (".", "..")
)


@given(
    st.sampled_from(
        ["https://{}/{}", "git@{}:{}.git", "ssh://git@{}/{}.git", "https://u:p@{}/{}/"]
    ),
    st.sampled_from(sorted(PUBLIC)),
    NAMES,
    NAMES,
)
def test_every_way_to_write_it_names_the_same_repository(
    form: str, host: str, owner: str, name: str
) -> None:
    remote = parse(form.format(host, f"{owner}/{name}"))
    assert remote is not None
    assert (remote.host, remote.repository()) == (host, f"{owner}/{name}")


@given(st.text() | st.text("htps:/@.[]abc-:\\%?#\n0123456789").map(lambda text: f"https://{text}"))
def test_no_url_gets_further_than_a_usage_error(url: str) -> None:
    try:
        remote = parse(url)
    except UsageError:
        return
    if remote is not None:
        assert remote.host
        assert not set(remote.host) & set("@/\\ \n?#%")


# --- which forge, and who gets the token ------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "forge", "host", "api"),
    [
        ("https://github.com/a/b", "auto", "", "https://api.github.com"),
        ("git@github.com:a/b", "github", "", "https://api.github.com"),
        ("https://gitlab.com/a/b", "auto", "", "https://gitlab.com"),
        ("https://codeberg.org/a/b", "auto", "", "https://codeberg.org/api/v1"),
        ("https://gitea.com/a/b", "gitea", "gitea.com", "https://gitea.com/api/v1"),
        ("https://git.corp/a/b", "github", "git.corp", "https://git.corp/api/v3"),
        ("git@git.corp:a/b", "gitlab", "git.corp:8443", "https://git.corp:8443"),
        ("https://git.corp:8443/a/b", "gitea", "GIT.corp:8443", "https://git.corp:8443/api/v1"),
        ("https://shop.ghe.com/a/b", "github", "shop.ghe.com", "https://api.shop.ghe.com"),
        ("http://127.0.0.1:9/a/b", "github", "", "http://127.0.0.1:9/api/v3"),
        ("ssh://git@localhost:22/a/b", "gitea", "localhost:3000", "http://localhost:3000/api/v1"),
    ],
)
def test_a_public_or_a_named_host_gets_the_token(
    url: str, forge: Kind, host: str, api: str
) -> None:
    found, tokens = opened(url, forge, host)
    assert found is not None
    assert found.site.api == api
    assert tokens.given == [(found.kind, found.host)]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://git.corp/a/b", ""),
        ("https://github.com.evil.example/a/b", ""),
        ("git@github-work:a/b", ""),
        ("https://git.corp/a/b", "git.corp"),  # of which kind, nobody says
        ("/srv/git/b.git", ""),
        ("", ""),
    ],
)
def test_no_other_host_does(url: str, host: str) -> None:
    assert opened(url, "auto", host)[0] is None
    assert opened(url, "auto", host)[1].given == []


def test_none_is_none() -> None:
    assert open_forge(PullRequestTool(forge="none"), "https://github.com/a/b", Tokens()) is None


@pytest.mark.parametrize(
    ("url", "forge", "host", "says"),
    [
        (
            "https://git.corp/a/b",
            "gitlab",
            "",
            "no token goes to a host .* not name: git.corp",
        ),
        ("https://evil.example/a/b", "gitlab", "git.corp", "the remote is at evil.example"),
        ("https://git.corp:8443/a/b", "gitlab", "git.corp", "the remote is at git.corp:8443"),
        ("https://github.com/a/b", "auto", "git.corp", "the remote is at github.com"),
        ("https://github.com/a/b", "gitlab", "", "github.com is no GitLab"),
        ("http://git.corp/a/b", "gitlab", "git.corp", "use https for git.corp"),
    ],
)
def test_a_remote_somebody_changed_gets_nothing(
    url: str, forge: Kind, host: str, says: str
) -> None:
    tokens = Tokens()
    with pytest.raises(UsageError, match=says):
        open_forge(PullRequestTool(forge=forge, host=host), url, tokens)
    assert tokens.given == []


def test_on_this_machine_it_is_asked_what_it_is_without_the_token() -> None:
    with serving(OddServer("auto", 200, b"<html>")) as other:
        assert opened(f"{other.url}/a/b")[0] is None
        assert [request.split()[1] for request in other.requests] == [
            "/api/v3/meta",
            "/api/v4/version",
            "/api/v1/version",
        ]
        assert not any("s3cret" in request for request in other.requests)


def test_nobody_answers_there() -> None:
    assert opened("http://127.0.0.1:1/a/b")[0] is None


OPERATIONS: list[Callable[[BaseForge], object]] = [
    lambda forge: forge.find("smoldebug/patch"),
    lambda forge: forge.open(TEXT),
    lambda forge: forge.update(1, TEXT),
    lambda forge: forge.close(1),
    lambda forge: forge.checks("0" * 40),
    lambda forge: forge.comment(1, "text", "<!-- m -->"),
    lambda forge: forge.protected("main"),
]
KINDS = pytest.mark.parametrize("kind", ["github", "gitlab", "gitea"])


@KINDS
@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirect_to_another_host_is_not_followed(kind: Kind, status: int) -> None:
    with web_server({}) as (elsewhere, seen):
        target = f"{elsewhere.replace('127.0.0.1', 'localhost')}/x"
        with serving(OddServer(kind, status, b"", Location=target)) as server:
            forge = server.open()
            for operation in OPERATIONS:
                with pytest.raises(UnreachableError):
                    operation(forge)
    assert seen == []


# --- answers that no forge gives ----------------------------------------------------------------

BODIES = [
    b"",
    b"[1, 2]",
    b"[[]]",
    b'{"message": {"a": [{"b": 3}]}}',
    b"null",
    b'[{"head": null}]',
    b"[" * 50_000,
    b'{"statuses": 3, "check_runs": [{"id": "x"}], "number": "y"}',
]


@KINDS
def test_a_page_in_place_of_an_answer_is_no_answer(kind: Kind) -> None:
    with serving(OddServer(kind, 200, b"<html>please log in</html>")) as server:
        forge = server.open()
        for operation in OPERATIONS:
            with pytest.raises(UnreachableError, match="does not answer as"):
                operation(forge)


@KINDS
@pytest.mark.parametrize("status", [200, 404, 422])
def test_an_odd_answer_is_one_sentence(kind: Kind, status: int) -> None:
    sentences = []
    with serving(OddServer(kind, status, b"")) as server:
        forge = server.open()
        for body in BODIES:
            server.reply = status, body
            for operation in OPERATIONS:
                try:
                    operation(forge)
                except SmoldebugError as error:
                    sentences.append(str(error))
    assert len(sentences) > 20
    assert not any("\n" in sentence for sentence in sentences)


@KINDS
def test_nothing_is_waited_for_that_is_not_there_yet(kind: Kind) -> None:
    with (
        serving(OddServer(kind, 202, b"{}")) as server,
        pytest.raises(UnreachableError),
    ):
        server.open().find("smoldebug/patch")


# --- tokens -------------------------------------------------------------------------------------

ENVIRON = {
    "GITHUB_TOKEN": "gh",
    "GITLAB_TOKEN": "gl",
    "FORGEJO_TOKEN": "fj",
    "CI_JOB_TOKEN": "job",
    "SHOP_GH_TOKEN": "own",
    "BOT_TOKEN": " bot\n",
    "BAD_TOKEN": "two words",
}


@pytest.mark.parametrize(
    ("names", "kind", "variable", "value"),
    [
        (["GITHUB_TOKEN", "GITLAB_TOKEN", "GITEA_TOKEN"], "gitlab", "GITLAB_TOKEN", "gl"),
        (["GITHUB_TOKEN", "BOT_TOKEN"], "gitea", "BOT_TOKEN", "bot"),
        (["BOT_TOKEN", "GITHUB_TOKEN"], "github", "BOT_TOKEN", "bot"),
        (["SHOP_GH_TOKEN", "CI_JOB_TOKEN"], "gitlab", "CI_JOB_TOKEN", "job"),
        (["GITHUB_TOKEN", "FORGEJO_TOKEN"], "gitea", "FORGEJO_TOKEN", "fj"),
        (["GITHUB_TOKEN", "GITEA_TOKEN"], "gitea", "GITEA_TOKEN", ""),
        (["UNSET_TOKEN", "GITEA_TOKEN", "GH_TOKEN"], "gitea", "UNSET_TOKEN or GITEA_TOKEN", ""),
        (["GITHUB_TOKEN"], "gitlab", "GITLAB_TOKEN", ""),
        ([], "github", "GITHUB_TOKEN", ""),
    ],
)
def test_a_variable_named_after_a_forge_is_for_that_one(
    names: list[str], kind: str, variable: str, value: str
) -> None:
    token = forge_token(names, ENVIRON, kind)
    assert (token.variable, str(token)) == (variable, value)
    assert value == "" or value not in repr(token)


def test_what_is_no_token_is_not_sent_and_not_shown() -> None:
    with pytest.raises(AccessDenied, match="^what is in BAD_TOKEN is no token$"):
        forge_token(["BAD_TOKEN"], ENVIRON, "github")


# --- the rest -----------------------------------------------------------------------------------


WANTED = "merge_request%5Bsource_branch%5D=fix%2Fx%231&merge_request%5Btarget_branch%5D=main"


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("git@github.com:a/b.git", "https://github.com/a/b/compare/main...fix/x%231?expand=1"),
        ("https://codeberg.org/a/b", "https://codeberg.org/a/b/compare/main...fix/x%231"),
        (
            "https://gitlab.com/a/b/c",
            f"https://gitlab.com/a/b/c/-/merge_requests/new?{WANTED}",
        ),
        ("https://git.corp/a/b", ""),
        ("https://github.com/a", ""),
        ("ext::sh", ""),
        ("", ""),
    ],
)
def test_the_page_to_open_it_by_hand(url: str, link: str) -> None:
    assert compare_url(url, "main", "fix/x#1") == link
    if link:
        found, _ = opened(url)
        assert found is not None
        assert found.compare_url("main", "fix/x#1") == link


def test_clients_are_imported_when_opened_and_may_be_missing() -> None:
    code = """
import sys
from smoldebug.playbook.patches import PullRequestTool
from smoldebug.sources.forge.open import open_forge
clients = ("github", "gitlab", "pyforgejo", "requests", "httpx")
print([name for name in clients if name in sys.modules])
sys.modules["gitlab"] = None
try:
    open_forge(PullRequestTool(), "https://gitlab.com/a/b", lambda kind, host: "")
except Exception as error:
    print(type(error).__name__, error.hint)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "UsageError pip install 'smoldebug[gitlab]'"]
