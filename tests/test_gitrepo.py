"""Which revision a playbook is from, asked of real repositories."""

import subprocess

import pytest

from smoldebug.sources.gitrepo import revision


def git(folder, *words):
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def playbook(tmp_path):
    path = tmp_path / "playbooks" / "a.yaml"
    path.parent.mkdir()
    path.write_text("name: a\n", encoding="utf-8")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return path


def test_a_committed_file_has_the_commits_name(playbook):
    assert revision(playbook) == git(playbook.parent, "rev-parse", "--short=7", "HEAD")


def test_an_edited_or_a_new_file_is_marked(playbook):
    committed = revision(playbook)
    playbook.write_text("name: b\n", encoding="utf-8")
    new = playbook.with_name("new.yaml")
    new.write_text("name: new\n", encoding="utf-8")
    assert (revision(playbook), revision(new)) == (f"{committed}+", f"{committed}+")


def test_no_repository_and_no_commit_have_no_revision(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("name: a\n", encoding="utf-8")
    assert revision(path) == ""
    git(tmp_path, "init", "-q")
    assert revision(path) == ""
    assert revision(tmp_path / "missing.yaml") == ""


def test_nothing_that_a_repository_configures_is_run(playbook, tmp_path):
    trap = tmp_path / "ran"
    git(tmp_path, "config", "core.fsmonitor", f"touch {trap}; false")
    playbook.write_text("name: c\n", encoding="utf-8")
    assert revision(playbook).endswith("+")
    assert not trap.exists()
