"""A run's own clone: real Git, a real server over HTTP, and the user's repository left alone."""

import pytest
from githost import GitHost, commit_all, git

from smoldebug.playbook.patches import GitTool
from smoldebug.sources.gitclone import open_clone

FILES = {
    "README.md": b"# shop\n",
    "deploy/auth.yaml": b"kind: Deployment\nmetadata: {name: auth}\n",
    "deploy/cart.yaml": b"kind: Deployment\nmetadata: {name: cart}\n",
}


@pytest.fixture(autouse=True)
def settings(tmp_path_factory, monkeypatch):
    """Settings of a person who has set up Git, and none of this machine's."""
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text("[user]\n\tname = Ada\n\temail = ada@example.com\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("XDG_CONFIG_HOME", "GIT_ASKPASS", "SSH_ASKPASS"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def host(tmp_path):
    (tmp_path / "host").mkdir()
    with GitHost(tmp_path / "host") as server:
        yield server


@pytest.fixture
def local(tmp_path, host):
    """The user's repository, with a remote."""
    folder = tmp_path / "work"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    commit_all(folder, FILES)
    git(folder, "remote", "add", "origin", host.create("shop/manifests", folder))
    return folder


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


def test_a_patch_is_committed_and_pushed_beside_the_users_checkout(local, opened, host):
    before = git(local, "status", "--porcelain=v2", "--branch"), git(local, "for-each-ref")
    clone = opened(local / "deploy")
    base = clone.base_commit()
    assert (clone.name, clone.url) == ("shop/manifests", f"{host.url}/shop/manifests.git")
    assert (clone.tip(), clone.start()) == ("", base)
    tree = clone.tree(base)
    assert {path: tree.read(path) for path in tree.files()} == FILES

    new = clone.commit(base, {"deploy/auth.yaml": b"kind: Deployment\r\n"}, "Set a flag\n\nWhy.")
    clone.push(new, "")
    assert clone.tip() == new == clone.start() == clone.proposed
    bare = host.root / "shop/manifests.git"
    assert git(bare, "log", "-1", "--format=%an <%ae>|%cn|%B", new) == (
        "Ada <ada@example.com>|Ada|Set a flag\n\nWhy."
    )
    assert git(bare, "diff", "--name-only", base, new) == "deploy/auth.yaml"
    assert before == (
        git(local, "status", "--porcelain=v2", "--branch"),
        git(local, "for-each-ref"),
    )
