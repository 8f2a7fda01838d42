"""A run's own clone: real Git, a real server over HTTP, and the user's repository left alone."""

import os
import shutil
import socket
import subprocess

import pytest
from githost import GitHost, commit_all, git
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smoldebug.errors import (
    AccessDenied,
    ChangeRefused,
    Conflict,
    NotFound,
    ToolError,
    UnreachableError,
    UsageError,
)
from smoldebug.playbook.patches import GitTool
from smoldebug.sources import giturl
from smoldebug.sources.gitclone import open_clone
from smoldebug.sources.gitcommand import GitCommand

AUTH = "deploy/auth.yaml"
FILES = {
    "README.md": b"# shop\n",
    AUTH: b"kind: Deployment\nmetadata: {name: auth}\n",
    "deploy/cart.yaml": b"kind: Deployment\nmetadata: {name: cart}\n",
}
CHANGED = {AUTH: b"kind: Deployment\nmetadata: {name: auth, labels: {a: b}}\n"}


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """Of a person who has set up Git; nothing of this machine's settings."""
    folder = tmp_path_factory.mktemp("home")
    (folder / ".gitconfig").write_text("[user]\n\tname = Ada\n\temail = ada@example.com\n")
    monkeypatch.setenv("HOME", str(folder))
    for name in [*filter(lambda name: name.startswith("GIT_"), os.environ), "XDG_CONFIG_HOME"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return folder


@pytest.fixture
def host(tmp_path):
    (tmp_path / "host").mkdir()
    with GitHost(tmp_path / "host") as server:
        yield server


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A repository with one commit, and its bare copy: made once, copied by tests."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "work").mkdir()
    git(folder / "work", "init", "-q", "--template=", "-b", "main")
    commit_all(folder / "work", FILES)
    git(folder, "clone", "-q", "--template=", "--bare", "work", "bare")
    git(folder / "bare", "config", "http.receivepack", "true")
    return folder


@pytest.fixture
def alone(tmp_path, made):
    """The user's repository, without a remote."""
    return shutil.copytree(made / "work", tmp_path / "work")


@pytest.fixture
def bare(made, host):
    """What the host serves."""
    return shutil.copytree(made / "bare", host.root / "shop/manifests.git")


@pytest.fixture
def local(alone, host, bare):
    """The user's repository, with a remote."""
    with (alone / ".git/config").open("a") as config:
        config.write(f'[remote "origin"]\n\turl = {host.url}/shop/manifests.git\n')
    return alone


@pytest.fixture
def opened(tmp_path):
    """Opens clones, and closes them."""
    clones = []

    def open_it(repo, *, run="run", token="", **settings):
        tool = GitTool(**({"base": "main"} | settings))
        clone = open_clone(tmp_path / run, repo=str(repo), git=tool, token=lambda _: token)
        clones.append(clone)
        return clone

    yield open_it
    for clone in clones:
        clone.close()


def script(path, body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def committed(clone, files=CHANGED, parent=""):
    return clone.commit(parent or clone.base_commit(), files, "A change")


def pushed(clone, files=CHANGED):
    """The run's branch, one commit further."""
    tip = clone.tip()
    new = committed(clone, files, tip)
    clone.push(new, tip)
    return new


# --- a patch, from a local repository -----------------------------------------------------------


def test_a_patch_is_committed_and_pushed_and_the_users_checkout_stays(local, opened, host, bare):
    (local / AUTH).write_bytes(b"edited, not committed\n")
    git(local, "switch", "-q", "-c", "topic")
    inside = {path: path.read_bytes() for path in (local / ".git").rglob("*") if path.is_file()}
    clone = opened(local / "deploy")
    base = clone.base_commit()
    assert (clone.name, clone.url) == ("shop/manifests", f"{host.url}/shop/manifests.git")
    assert (clone.tip(), clone.start(), clone.proposed) == ("", base, "")
    tree = clone.tree(base)
    assert {path: tree.read(path) for path in tree.files()} == FILES
    assert tree.files()[AUTH].size == len(FILES[AUTH])

    new = clone.commit(base, CHANGED, "Set a label\n\nWhy.\n# and a line like a comment\n")
    clone.push(new, "", dry_run=True)
    assert clone.proposed == ""
    clone.push(new, "")
    assert clone.tip() == new == clone.start() == clone.proposed
    said = "Ada <ada@example.com>|Ada|Set a label\n\nWhy.\n# and a line like a comment"
    assert git(bare, "log", "-1", "--format=%an <%ae>|%cn|%B", new) == said
    assert git(bare, "diff", "--name-only", base, new) == AUTH
    after = {path: path.read_bytes() for path in (local / ".git").rglob("*") if path.is_file()}
    assert inside == after
    assert (local / AUTH).read_bytes() == b"edited, not committed\n"


def test_the_clone_borrows_history_and_checks_nothing_out(local, opened, tmp_path):
    opened(local)
    assert git(tmp_path / "run/clone", "count-objects") == "0 objects, 0 kilobytes"
    assert [path.name for path in (tmp_path / "run/clone").iterdir()] == [".git"]


def test_the_diff_and_its_numbers(alone, opened):
    clone = opened(alone)
    base = clone.base_commit()
    new = clone.commit(base, CHANGED | {"new.yaml": b"a\n", "logo.png": b"\0\n"}, "x")
    assert [
        (file.path, file.status, file.added, file.removed)
        for file in clone.files_changed(base, new)
    ] == [(AUTH, "modified", 1, 1), ("logo.png", "added", 0, 0), ("new.yaml", "added", 1, 0)]
    back = clone.files_changed(new, base)
    assert [file.status for file in back] == ["modified", "deleted", "deleted"]
    assert f"--- a/{AUTH}\n+++ b/{AUTH}\n@@ -1,2 +1,2 @@\n" in clone.diff(base, new)
    assert clone.within(base, new)
    assert not clone.within(new, base)


def test_a_later_part_of_the_run_finds_the_clone_or_makes_it_anew(local, opened, tmp_path):
    first = opened(local)
    kept = first.commit(first.base_commit(), CHANGED, "not pushed yet")
    assert opened(local).tree(kept).read(AUTH) == CHANGED[AUTH]
    new = pushed(opened(local))
    shutil.rmtree(tmp_path / "run")
    again = opened(local)
    assert (again.start(), again.tree(new).read(AUTH)) == (new, CHANGED[AUTH])
    again.push("", new)
    assert again.tip() == ""


@pytest.mark.parametrize("by", ["folder", "address"])
def test_a_commit_is_what_it_was_after_the_base_has_moved(local, opened, host, bare, tmp_path, by):
    repo = local if by == "folder" else f"{host.url}/shop/manifests.git"
    first = opened(repo, author="Ada <ada@example.com>")
    base, new = first.base_commit(), committed(first)
    shown = first.diff(base, new)
    git(tmp_path, "clone", "-q", bare, "theirs")
    commit_all(tmp_path / "theirs", {"README.md": b"grown\n"})
    git(tmp_path / "theirs", "push", "-q", "origin", "main")
    again = opened(repo)
    assert again.base_commit() != base
    assert again.diff(base, new) == shown
    assert [file.path for file in again.files_changed(base, new)] == [AUTH]
    again.push(new, "", dry_run=True)
    again.push(new, "")
    assert git(bare, "rev-parse", "smoldebug/patch").strip() == new


def test_what_a_killed_process_leaves_is_in_nobodys_way(alone, opened, tmp_path):
    opened(alone)
    for name in ("index.lock", "refs/heads/smoldebug/patch.lock"):
        (tmp_path / "run/clone/.git" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run/clone/.git" / name).touch()
    clone = opened(alone)
    new = committed(clone)
    for pack in (tmp_path / "run/clone/.git/objects").glob("??/*"):
        pack.unlink()
    with pytest.raises(ToolError):
        clone.tree(new).read(AUTH)
    assert clone.tree(clone.base_commit()).read(AUTH) == FILES[AUTH]


def test_a_folder_that_cannot_be_written_is_told(alone, opened, tmp_path):
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(ToolError, match="the run's clone cannot be written: "):
        opened(alone)


def test_a_branch_whose_commits_are_all_in_the_base_starts_over(local, opened, bare):
    new = pushed(opened(local))
    git(bare, "update-ref", "refs/heads/main", new)
    commit_all(local, {"b": b"b"})
    git(local, "pull", "-q", "--rebase", "origin", "main")
    git(local, "push", "-q", "origin", "main")
    clone = opened(local)
    assert clone.tip() == new != clone.base_commit() == clone.start()


def test_without_a_base_it_is_the_remotes_default_branch(local, opened):
    assert opened(local, base="").base == "main"


# --- what a repository and its owner have set up ------------------------------------------------


def test_bytes_are_bytes_whatever_filters_and_line_ends_are_set(alone, opened, tmp_path):
    trap = tmp_path / "ran"
    git(alone, "config", "--global", "core.autocrlf", "true")
    git(alone, "config", "--global", "filter.lfs.clean", f"touch {trap}; cat")
    git(alone, "config", "--global", "filter.lfs.smudge", f"touch {trap}; cat")
    git(alone, "config", "core.fsmonitor", f"touch {trap}; false")
    attributes = b"* text=auto eol=crlf\n*.yaml filter=lfs ident -diff\n"
    pointer = b"version https://git-lfs.github.com/spec/v1\n"
    commit_all(alone, {".gitattributes": attributes, "big.yaml": pointer, "a.txt": b"a\r\n"})
    trap.unlink()
    script(alone / ".git/hooks/pre-commit", "git diff --exit-code && git add --all --renormalize .")

    clone, data = opened(alone), b"mixed\r\nends\nno last $Id$ one"
    base = clone.base_commit()
    new = clone.commit(base, {AUTH: data}, "x")
    assert clone.tree(new).read(AUTH) == data
    assert clone.tree(new).read("big.yaml") == pointer
    assert [file.path for file in clone.files_changed(base, new)] == [AUTH]
    assert "+mixed\r\n" in clone.diff(base, new)
    assert not trap.exists()


def test_modes_links_and_submodules_stay_and_are_never_written(alone, opened, tmp_path):
    script(alone / "run.sh", "true")
    (alone / "link.yaml").symlink_to("/etc/hostname")
    (alone / "away").symlink_to(tmp_path)
    (alone / ".gitmodules").write_text('[submodule "sub"]\n\tpath = sub\n\turl = ext::touch x\n')
    odd = 'odd\nname\t"é.yaml'
    commit_all(alone, {odd: b"a\n", "sub/.keep": b""})
    git(alone, "rm", "-qr", "--cached", "sub")
    git(
        alone,
        "update-index",
        "--add",
        "--cacheinfo",
        f"160000,{git(alone, 'rev-parse', 'HEAD')},sub",
    )
    git(alone, "commit", "-qm", "submodule")
    script(alone / ".git/hooks/pre-commit", "true")  # so that files are checked out
    clone = opened(alone)
    base = clone.base_commit()
    files = clone.tree(base).files()
    kinds = {path: files[path].kind for path in ("run.sh", "link.yaml", "away", "sub")}
    assert kinds == {"run.sh": "file", "link.yaml": "link", "away": "link", "sub": "submodule"}

    new = clone.commit(base, {"run.sh": b"#!/bin/sh\n", odd: b"b\n", "new/a.yaml": b"c"}, "x")
    at = [
        set(git(tmp_path / "run/clone", "ls-tree", "-rz", each).split("\0")) for each in (base, new)
    ]
    assert {line.split("\t", 1)[1] for line in at[0] ^ at[1]} == {"run.sh", odd, "new/a.yaml"}
    assert {line.split()[0] for line in at[0] ^ at[1] if "run.sh" in line} == {"100755"}
    assert "odd" in str([file.path for file in clone.files_changed(base, new) if file.path == odd])
    for path in ("link.yaml", "sub", "away", "deploy", "none"):
        with pytest.raises(NotFound):
            clone.tree(base).read(path)
    bad = (
        "link.yaml",
        "sub",
        "away/x",
        "sub/x",
        "deploy",
        "../x",
        "/x",
        "a/.GIT/config",
        "",
        "./a",
    )
    for path in bad:
        with pytest.raises((NotFound, UsageError)):
            clone.commit(base, {path: b"x"}, "x")
    assert not (tmp_path / "x").exists()


def test_author_and_sign_off(alone, opened, tmp_path):
    clone = opened(alone, author="Shop bot <bot@example.com>", sign_off=True)
    said = git(
        tmp_path / "run/clone",
        "log",
        "-1",
        "--format=%an %ae|%cn|%(trailers:unfold)",
        committed(clone),
    )
    assert said == "Shop bot bot@example.com|Ada|Signed-off-by: Ada <ada@example.com>"
    for bad in ("Shop bot", "--amend", "a <b>\nx: <y>", "<b@c>", "a <b c>"):
        with pytest.raises(UsageError, match="an author is written"):
            opened(alone, author=bad)


def test_who_commits_is_what_the_users_repository_says(alone, opened, home, tmp_path):
    (home / "work.inc").write_text("[user]\n\temail = ada@work.example\n")
    git(alone, "config", "--global", f"includeIf.gitdir:{alone}/.path", str(home / "work.inc"))
    git(alone, "config", "user.name", "Ada at work")
    said = git(tmp_path / "run/clone", "log", "-1", "--format=%cn <%ce>", committed(opened(alone)))
    assert said == "Ada at work <ada@work.example>"


def test_an_identity_is_needed_and_an_author_is_one(alone, opened, home, tmp_path):
    (home / ".gitconfig").unlink()
    with pytest.raises(UsageError, match="does not know who commits") as failed:
        committed(opened(alone))
    assert "tools.git.author" in failed.value.hint
    clone = opened(alone, author="Bot <bot@example.com>")
    assert (
        git(tmp_path / "run/clone", "log", "-1", "--format=%cn %ce", committed(clone))
        == "Bot bot@example.com"
    )


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs ssh-keygen")
def test_commits_are_signed_as_the_user_signs_them(alone, opened, home, tmp_path):
    key = home / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (home / "allowed").write_text(f"ada@example.com {(home / 'key.pub').read_text()}")
    git(alone, "config", "--global", "gpg.format", "ssh")
    git(alone, "config", "--global", "gpg.ssh.allowedSignersFile", str(home / "allowed"))
    git(alone, "config", "user.signingKey", str(key))
    git(alone, "config", "commit.gpgSign", "true")
    new = committed(opened(alone))
    words = ["git", "verify-commit", new]
    said = subprocess.run(words, cwd=tmp_path / "run/clone", capture_output=True, check=True)
    assert b"Good" in said.stderr
    key.unlink()
    with pytest.raises(ChangeRefused, match="could not be signed"):
        opened(alone).commit(new, {AUTH: b"x"}, "x")


# --- hooks --------------------------------------------------------------------------------------


def test_hooks_see_the_whole_commit_and_may_add_to_it(alone, opened, tmp_path):
    hooks = alone / ".git/hooks"
    script(
        hooks / "pre-commit",
        f"ls deploy > {tmp_path}/seen; cat {AUTH} >> {tmp_path}/seen; "
        "git diff --quiet || exit 1; echo formatted > README.md; git add README.md",
    )
    script(hooks / "prepare-commit-msg", 'echo "Ticket: 7" >> "$1"')
    script(hooks / "commit-msg", 'grep -q "^Ticket" "$1"')
    clone = opened(alone)
    new = clone.commit(clone.base_commit(), CHANGED, "Set a label\n")
    assert (tmp_path / "seen").read_bytes() == b"auth.yaml\ncart.yaml\n" + CHANGED[AUTH]
    assert [file.path for file in clone.files_changed(clone.base_commit(), new)] == [
        "README.md",
        AUTH,
    ]
    assert "Ticket: 7" in git(tmp_path / "run/clone", "log", "-1", "--format=%B", new)
    assert clone.hooks.names == ("pre-commit", "prepare-commit-msg", "commit-msg")


def test_a_hook_that_says_no_is_quoted_and_hooks_can_be_skipped(local, opened, tmp_path):
    hooks = local / ".git/hooks"
    script(hooks / "pre-commit", r"printf 'replicas \033[31mtoo low\n'; exit 1")
    with pytest.raises(ChangeRefused, match=r"a hook refused the commit: replicas too low$"):
        pushed(opened(local))
    (hooks / "pre-commit").unlink()
    script(
        hooks / "pre-push",
        f'echo "$1 $2" > {tmp_path}/seen; cat >> {tmp_path}/seen; echo not on fridays >&2; exit 1',
    )
    clone = opened(local)
    new = committed(clone, CHANGED, "")
    with pytest.raises(ChangeRefused, match="the pre-push hook refused: not on fridays$"):
        clone.push(new, "")
    ref = "refs/heads/smoldebug/patch"
    said = f"origin {clone.url}\n{new} {new} {ref} {'0' * 40}\n"
    assert (tmp_path / "seen").read_text() == said
    assert clone.tip() == ""
    skipping = opened(local, hooks="skip")
    assert (pushed(skipping), skipping.hooks.names) == (skipping.tip(), ("pre-push",))
    clone.push("", skipping.tip())  # what takes back is not up to hooks


def test_hooks_of_the_repository_itself_are_those_of_the_base(alone, opened):
    script(alone / ".husky/pre-commit", "echo from the tree >&2; exit 1")
    commit_all(alone, {})
    git(alone, "config", "core.hooksPath", ".husky")
    script(alone / ".husky/pre-commit", "true")
    with pytest.raises(ChangeRefused, match="from the tree"):
        committed(opened(alone))


def test_hooks_that_are_not_tracked_are_those_of_the_checkout(alone, opened, home):
    git(alone, "config", "core.hooksPath", ".husky/_")
    script(alone / ".husky/_/pre-commit", "echo generated >&2; exit 1")
    with pytest.raises(ChangeRefused, match="generated"):
        pushed(opened(alone / "deploy"))
    git(alone, "config", "core.hooksPath", "~/hooks")
    script(home / "hooks/commit-msg", "echo at home >&2; exit 1")
    with pytest.raises(ChangeRefused, match="at home"):
        committed(opened(alone))


# --- moving the branch --------------------------------------------------------------------------


def test_the_branch_goes_on_back_or_away_and_is_never_rewritten(local, opened, bare):
    clone = opened(local)
    base = clone.base_commit()
    one = pushed(clone)
    two = pushed(clone, {AUTH: b"two"})
    other = clone.commit(base, {AUTH: b"other"}, "beside it")
    with pytest.raises(ChangeRefused, match="commits would be lost"):
        clone.push(other, two)
    with pytest.raises(Conflict, match="not stand where it did"):
        clone.push(other, "")
    clone.push(two, one)  # it is there already: as after an answer that was lost
    clone.push(one, two)
    assert clone.tip() == one
    with pytest.raises(Conflict):
        clone.push("", two)
    clone.push("", one)
    assert clone.tip() == "" == git(bare, "for-each-ref", "refs/heads/smoldebug")


def test_somebody_elses_commit_on_the_branch_is_a_conflict(local, opened):
    clone = opened(local)
    mine = pushed(clone)
    git(local, "fetch", "-q", "origin", "smoldebug/patch")
    git(local, "switch", "-q", "-c", "smoldebug/patch", "FETCH_HEAD")
    theirs = commit_all(local, {"b": b"b"})
    git(local, "push", "-q", "origin", "smoldebug/patch")
    with pytest.raises(Conflict):
        clone.push("", mine)
    with pytest.raises(Conflict):
        clone.push(clone.commit(mine, {AUTH: b"2"}, "x"), mine)
    assert clone.start() == theirs
    assert clone.tree(theirs).read("b") == b"b"


def test_a_dry_run_asks_the_server_and_moves_nothing(local, opened, tmp_path, host):
    script(local / ".git/hooks/pre-push", f"touch {tmp_path}/ran")
    clone = opened(local)
    new = clone.commit(clone.base_commit(), CHANGED, "x")
    clone.push(new, "", dry_run=True)
    assert clone.tip() == ""
    assert not (tmp_path / "ran").exists()
    with pytest.raises(Conflict):
        clone.push(new, clone.base_commit(), dry_run=True)
    host.faults = {"git-receive-pack": 403}
    with pytest.raises(AccessDenied, match="do not allow this"):
        clone.push(new, "", dry_run=True)


def test_what_the_server_says_no_to_is_quoted(local, opened, bare):
    script(
        bare / "hooks/pre-receive", r"printf 'GH006: Protected \033]0;x\007branch\n' >&2; exit 1"
    )
    clone = opened(local)
    with pytest.raises(ChangeRefused) as failed:
        pushed(clone)
    assert not isinstance(failed.value, Conflict)
    said = "shop/manifests refused the push to smoldebug/patch: (pre-receive hook declined); "
    assert str(failed.value) == f"{said}GH006: Protected branch"


def test_a_branch_that_others_build_on_is_refused(local, opened, bare):
    git(bare, "branch", "release", "main")
    for names in (
        {"branch": "main"},
        {"base": "release", "branch": "main"},
        {"base": "release", "branch": "release"},
    ):
        with pytest.raises(UsageError, match="never made on the base branch"):
            opened(local, **names)


# --- credentials and the network ----------------------------------------------------------------

TOKEN = "ghp_0123456789abcdefghij0123456789abcdefgh"


def test_a_token_goes_to_its_host_and_is_written_nowhere(
    local, opened, host, tmp_path, monkeypatch
):
    host.token = TOKEN
    site = f"http.{host.url}/.extraHeader"
    git(local, "config", "--global", site, "Authorization: Basic eDp5")  # as actions/checkout does
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(tmp_path / "trace"))  # arguments, not settings
    pushed(opened(local, token=TOKEN))
    header = set(host.asked)
    assert len(header) == 1
    secrets = [TOKEN.encode(), header.pop().removeprefix("Basic ").encode()]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert (tmp_path / "trace") in files
    assert not [path for path in files for secret in secrets if secret in path.read_bytes()]


def test_missing_and_wrong_credentials(local, opened, host):
    host.token = TOKEN
    with pytest.raises(AccessDenied, match=r"no valid credentials for http://127[^ ]*$") as failed:
        opened(local)
    assert "GITHUB_TOKEN" in failed.value.hint
    wrong = "ghp_wrongwrongwrongwrongwrongwrongwrongwro"
    with pytest.raises(AccessDenied) as failed:
        opened(local, token=wrong)
    assert wrong not in str(failed.value)
    with pytest.raises(UsageError, match="characters that no token has") as failed:
        opened(local, token="a\nX-Evil: b")
    assert "Evil" not in str(failed.value)


def test_without_a_token_the_users_own_helper_is_asked(local, opened, host, home):
    host.token = TOKEN
    said = f"echo username=x-access-token; echo password={TOKEN}"
    script(home / "helper", f"echo $1 >> {home}/asked; {said}")
    for name in ("credential.helper", f"credential.{host.url}.helper"):
        git(local, "config", name, str(home / "helper"))
    clone = opened(local)
    assert pushed(clone) == clone.tip()
    (home / "asked").unlink()
    with pytest.raises(AccessDenied):  # nor is it told that what it holds is wrong
        opened(local, token="x" * 40)
    assert not (home / "asked").exists()


def test_a_token_follows_no_redirect(local, opened, host, tmp_path):
    with GitHost(tmp_path / "host") as other:
        host.moved = other.url
        with pytest.raises(UsageError, match="moved"):
            opened(local, token=TOKEN)
        assert not other.asked
        opened(local)
        assert set(other.asked) == {""}


def test_a_server_that_does_not_serve(local, opened, host):
    clone = opened(local)
    new = committed(clone)
    cases = {
        401: (AccessDenied, "no valid credentials"),
        403: (AccessDenied, "do not allow"),
        404: (UsageError, "no such repository"),
        500: (UnreachableError, "cannot be reached"),
        None: (UnreachableError, "cannot be reached"),
    }
    for status, (error, said) in cases.items():
        host.faults = {"info/refs": status}
        for asked in (clone.tip, lambda: clone.push(new, ""), lambda: opened(local)):
            with pytest.raises(error, match=said):
                asked()
    host.faults = {"/git-receive-pack": None}  # cut between the question and the push
    with pytest.raises(UnreachableError):
        clone.push(new, "")
    host.faults = {}
    clone.push(new, "")  # a second attempt goes on where it stopped
    assert clone.tip() == new


def test_a_server_that_is_not_there(local, opened, host):
    clone = opened(local)
    git(local, "remote", "set-url", "origin", "http://127.0.0.1:9/shop/manifests.git")
    with pytest.raises(UnreachableError, match="http://127.0.0.1:9/shop/manifests.git cannot be"):
        opened(local)
    assert clone.base_commit()


def test_a_server_that_never_answers_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a/b"
        with pytest.raises(UnreachableError, match="did not complete in 0.2 secs"):
            GitCommand(tmp_path, url, {}).run("ls-remote", "--", url, seconds=0.2)


# --- other kinds of repositories ----------------------------------------------------------------


def test_a_repository_without_a_remote_becomes_patch_files(alone, opened, tmp_path):
    git(alone, "switch", "-q", "--detach")
    git(alone, "config", "--global", "format.subjectPrefix", "mine")  # what a person reads is ours
    clone = opened(alone)
    assert (clone.name, clone.url, clone.tip()) == ("work", "", "")
    new = clone.commit(clone.start(), CHANGED, "Set a label")
    with pytest.raises(ChangeRefused, match="no remote"):
        clone.push(new, "")
    (file,) = clone.format_patches(clone.base_commit(), new, tmp_path)
    assert file == tmp_path / "0001-Set-a-label.patch"
    assert "Subject: [PATCH] Set a label\n" in file.read_text()
    git(alone, "am", "-q", str(file))
    assert (alone / AUTH).read_bytes() == CHANGED[AUTH]
    with pytest.raises(UsageError, match="no branch prod in work; it has: main"):
        opened(alone, base="prod")
    with pytest.raises(UsageError, match="name one"):
        opened(alone, base="")
    git(alone, "switch", "-q", "main")
    assert opened(alone, base="").base == "main"


def test_an_address_needs_no_local_repository(opened, host, local, tmp_path):
    for number in range(3):
        commit_all(local, {"b": b"%d" % number})
    git(local, "push", "-q", "origin", "main")
    url = f"{host.url}/shop/manifests.git"
    clone = opened(url)
    assert (clone.name, clone.url) == ("shop/manifests", url)
    assert git(tmp_path / "run/clone", "rev-list", "--all", "--count") == "1"
    new = pushed(clone)
    again = opened(url, run="another")
    assert again.start() == new
    assert again.within(git(local, "rev-parse", "HEAD~2"), new)


@pytest.mark.parametrize("kind", ["bare", "shallow", "worktree", "empty", "partial"])
def test_all_sorts_of_local_repositories(local, opened, host, tmp_path, kind):
    commit_all(local, {"b": b"b"})
    git(local, "push", "-q", "origin", "main")
    folder, url = tmp_path / kind, f"{host.url}/shop/manifests.git"
    if kind == "worktree":
        git(local, "worktree", "add", "-q", "-b", "topic", str(folder))
    elif kind == "empty":
        git(tmp_path, "init", "-q", kind)
        git(folder, "remote", "add", "origin", url)
    else:
        options = {"bare": "--bare", "shallow": "--depth=1", "partial": "--filter=blob:none"}
        git(host.root / "shop/manifests.git", "config", "uploadpack.allowFilter", "true")
        git(tmp_path, "clone", "-q", "--no-checkout", options[kind], url, kind)
    clone = opened(folder)
    new = pushed(clone)
    assert clone.tree(new).read("b") == b"b"
    assert clone.within(git(local, "rev-parse", "HEAD~1"), new)
    assert clone.start() == new


def test_what_is_no_repository_to_patch_is_said(local, opened, tmp_path, monkeypatch, host):
    (tmp_path / "plain").mkdir()
    git(tmp_path, "init", "-q", "unborn")
    git(tmp_path, "init", "-q", "--object-format=sha256", "sha256")
    git(host.root, "init", "-q", "--bare", "shop/empty.git")
    cases = {
        tmp_path / "none": "no such folder",
        tmp_path / "plain": "not in a Git repository",
        tmp_path / "unborn": "no commit yet",
        tmp_path / "sha256": "sha256 object names",
        f"{host.url}/shop/none.git": "no such repository",
        f"{host.url}/shop/empty.git": "no branch main in shop/empty; it has: none",
        f"http://a:b@{host.url[7:]}/shop/manifests.git": "holds a password",
    }
    for repo, said in cases.items():
        with pytest.raises(UsageError, match=said):
            opened(repo)
    with pytest.raises(UsageError, match="no remote upstream; it has: origin"):
        opened(local, remote="upstream")
    with pytest.raises(UsageError, match="no branch prod in shop/manifests; it has: main"):
        opened(local, base="prod")
    with pytest.raises(NotFound, match="not the id of a commit"):
        opened(local).tree("--output=x")
    git(local, "config", "remote.origin.pushUrl", f"{host.url}/ada/manifests.git")
    with pytest.raises(UsageError, match="pushed to another repository"):
        opened(local)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(UsageError, match="another user owns") as failed:
        opened(local)
    assert "safe.directory" in failed.value.hint
    monkeypatch.setenv("GIT_DIR", str(local / ".git"))
    with pytest.raises(UsageError, match="unset GIT_DIR"):
        opened(tmp_path / "plain")


def test_a_machine_without_git_is_told(local, opened, tmp_path, monkeypatch):
    opened(local)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="git is not installed"):
        opened(local)


# --- text that Git would take for something else ------------------------------------------------

ADDRESSES = [
    "ext::sh -c touch% {trap}",
    "ext://sh",
    "fd::17",
    "file://{work}",
    "git://example.com/a",
    "http://example.com/a/b",
    "ssh://-oProxyCommand=touch {trap}/a",
    "ssh://-oProxyCommand=touch${{IFS}}{trap}/a",
    "ssh://git@-oProxyCommand=x/a",
    "-oProxyCommand=touch:a",
    "git@host:--upload-pack=touch {trap}",
    "git@-host:a",
    "host:-a",
    "--upload-pack=touch {trap}:a",
    "https://example.com/../../etc",
    "https://example.com/a?b#c",
    "https://example.com/a\nb",
    "https://user:pass word@example.com/a",
    "https://",
    ":",
    "a:b\0c",
]


def test_addresses_that_run_something_are_refused(local, opened, tmp_path):
    trap = tmp_path / "ran"
    for address in ADDRESSES:
        address = address.format(trap=trap, work=local)
        with pytest.raises(UsageError) as failed:
            opened(address)
        assert "pass word" not in str(failed.value)
    for address in (*ADDRESSES[:-1:4], "/srv/manifests.git"):
        git(local, "config", "remote.origin.url", address.format(trap=trap, work=local))
        with pytest.raises(UsageError, match="not an address"):
            opened(local)
    git(local, "config", "remote.origin.url", "https://example.com/a/b")
    git(local, "config", "--global", f"url.file://{local}.insteadOf", "https://example.com/a/b")
    for repo in (local, "https://example.com/a/b"):
        with pytest.raises(UsageError):
            opened(repo)
    assert not trap.exists()


@given(st.text() | st.from_regex(r"(https?|ssh|ext|file)?(://|::|:)?[-@\w.:/%~ ]*", fullmatch=True))
@example("git@github.com:shop/manifests.git")
@example("ssh://git@[::1]:22/~me/a.git")
def test_an_address_is_refused_or_harmless(text):
    try:
        address = giturl.parse(text)
    except UsageError:
        return
    assert address.scheme in ("https", "ssh", "http")
    assert text.startswith(("https://", "ssh://", "http://")) or "://" not in text
    assert not any(
        part.startswith("-") for part in (text, address.host, address.user, address.path)
    )
    assert not set(text) & set(" \t\r\n\0'\"`$\\;&|<>")
    assert address.scheme != "http" or address.host.startswith(("127.", "localhost", "[::1]"))


@settings(max_examples=50)
@given(st.text(max_size=8) | st.text("a./@{-~^:?*[\\ \x7flock", max_size=9))
@example("a.lock/b")
@example("-D")
@example("a..b")
@example("refs/heads/a")
def test_a_branch_name_is_refused_or_one_that_git_takes(text):
    try:
        giturl.check_branch(text)
    except UsageError:
        return
    assert not text.startswith(("-", "refs/"))
    done = subprocess.run(["git", "check-ref-format", "--branch", text], capture_output=True)
    assert done.returncode == 0, done.stderr


def test_names_and_ids_reach_git_as_nothing_else(local, opened, tmp_path):
    for name in (
        "--force",
        "a b",
        "a..b",
        "a:b",
        "@{-1}",
        "a\n",
        "HEAD",
        "-",
        "a/-b",
        "refs/heads/a",
    ):
        for what in ("branch", "remote", "base"):
            with pytest.raises(UsageError, match="not a name for a"):
                opened(local, **{what: name})
    clone = opened(local)
    for bad in ("--output=x", "HEAD", "main", "^" + "0" * 40, "-" + "0" * 39, "f" * 40):
        for use in (
            clone.tree,
            lambda bad: clone.diff(bad, clone.base_commit()),
            lambda bad: clone.push(bad, ""),
            lambda bad: clone.push("", bad),
        ):
            with pytest.raises((NotFound, Conflict)):
                use(bad)
    assert not list(tmp_path.rglob("x"))
