"""CODEOWNERS and the template of pull requests, as the forges read them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.sources.fakes import MemoryTree
from smoldebug.sources.forge.codeowners import find, owners, template

GITHUB = """\
# who is asked
*               @everyone          # when nothing else fits
*.js            @js-owner
/build/logs/    @doctor
docs/*          docs@example.com @writer
apps/           @octocat
/scripts/       @doctor @octocat
**/logs         @logger
/apps/github
/my\\ files/     @spacer
\\#odd           @hash
/pages/[id]/    @pages
"""


@pytest.mark.parametrize(
    ("path", "who"),
    [
        ("README.md", ["everyone"]),
        ("a/b/c.js", ["js-owner"]),
        ("build/logs/x/y", ["logger"]),  # the last rule that fits
        ("docs/start.md", ["writer"]),
        ("docs/deep/start.md", ["everyone"]),
        ("x/apps/y.yaml", ["octocat"]),
        ("scripts/run", ["doctor", "octocat"]),
        ("x/scripts/run", ["everyone"]),
        ("deep/logs/x", ["logger"]),
        ("apps/github/x.yaml", []),
        ("my files/x", ["spacer"]),
        ("#odd", ["hash"]),
        ("pages/[id]/x", ["pages"]),
        ("pages/i/x", ["everyone"]),
    ],
)
def test_the_last_rule_that_fits_a_file_says_who(path: str, who: list[str]) -> None:
    assert list(owners(GITHUB, [path])) == who


SECTIONS = """\
* @root
!*.gen.yaml

[Database][2] @dba @team/db
model/
config/db/ @config

^[Docs]
*.md @writer
[DATABASE]
model/special @special
"""


@pytest.mark.parametrize(
    ("path", "who"),
    [
        ("x.yaml", ["root"]),
        ("x.gen.yaml", []),
        ("model/a.rb", ["root", "dba", "team/db"]),
        ("model/special", ["root", "special"]),
        ("config/db/x.md", ["root", "config", "writer"]),
    ],
)
def test_each_section_of_gitlab_counts(path: str, who: list[str]) -> None:
    assert list(owners(SECTIONS, [path])) == who


def test_nobody_twice_and_not_too_many() -> None:
    text = "\n".join(f"/f{n} @u{n} @all" for n in range(50))
    found = owners(text, [f"f{n}" for n in range(50)])
    assert found[:3] == ("u0", "all", "u1")
    assert len(found) == len(set(found)) == 15


def test_roles_mails_and_nonsense_are_nobody() -> None:
    assert owners("* @@developer a@b.example @ @- @x/ @a//b @ok", ["f"]) == ("ok",)


@given(st.text(), st.lists(st.text(min_size=1), max_size=3))
def test_any_text_is_read(text: str, paths: list[str]) -> None:
    assert all("@" not in owner and "\n" not in owner for owner in owners(text, paths))


SEGMENT = st.text("ab.-", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))


@given(st.lists(SEGMENT, min_size=1, max_size=4), st.data())
def test_a_rule_fits_the_path_it_was_made_of(segments: list[str], data: st.DataObject) -> None:
    path = "/".join(segments)
    at = data.draw(st.integers(0, len(segments) - 1))
    starred = "/".join("*" if n == at else name for n, name in enumerate(segments))
    folder = "/".join(segments[: at + 1])
    for rule in (f"/{path}", f"/{starred}", f"**/{segments[-1]}", segments[at], f"/{folder}"):
        assert owners(f"* @other\n{rule} @me", [path]) == ("me",), rule


def test_a_hostile_pattern_is_not_slow() -> None:
    text = "\n".join(["*a" * 200 + "b @x", "/**" * 200 + "/b @y", "?*" * 100 + " @z"] * 5)
    began = time.process_time()
    owners(text, ["a" * 4000, "a/" * 1000 + "a"])
    assert time.process_time() - began < 2


def test_where_they_are_looked_for() -> None:
    assert find(MemoryTree({"docs/CODEOWNERS": b"* @docs", "CODEOWNERS": b"* @top"})) == "* @top"
    assert find(MemoryTree({".gitlab/CODEOWNERS": b"\xef\xbb\xbf* @x \xff"})) == "* @x \ufffd"
    assert find(MemoryTree({"a/CODEOWNERS": b"* @x"})) == ""


@pytest.mark.parametrize(
    "path",
    [
        ".github/PULL_REQUEST_TEMPLATE.md",
        "pull_request_template.md",
        "docs/Pull_Request_Template.md",
        ".gitlab/merge_request_templates/Default.md",
        ".gitea/PULL_REQUEST_TEMPLATE.md",
    ],
)
def test_the_template_of_pull_requests(path: str) -> None:
    assert template(MemoryTree({path: b"## Why\n", "README.md": b""})) == "## Why\n"
    assert template(MemoryTree({f"x/{path}": b"## Why\n"})) == ""
