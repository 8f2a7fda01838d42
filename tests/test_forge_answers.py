"""What a forge's refusal means: its words, how long it asks to wait, and whose fault it is."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoldebug.errors import AccessDenied, ChangeRefused, NotFound, UnreachableError
from smoldebug.sources.forge.answers import Answer, Asked, pause, refused, words
from smoldebug.sources.forge.site import Site, Token

NOW = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
SITE = Site(
    "github", "https://github.com", "https://api.github.com", "a/b", Token("k3y", "MY_TOKEN")
)
ANONYMOUS = Site("github", SITE.web, SITE.api, "a/b", Token("", "GITHUB_TOKEN or MY_TOKEN"))
UNSEEN = "or the token in MY_TOKEN cannot see it: a/b"
ASKED = Asked("open a pull request", "pull_requests: write")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("message"), inner),
)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"message": "Not Found", "documentation_url": "https://docs"}, "Not Found"),
        (
            {
                "message": "Validation Failed",
                "errors": [
                    {"resource": "PullRequest", "field": "base", "code": "invalid"},
                    {"resource": "PullRequest", "code": "custom", "message": "No commits"},
                ],
            },
            "Validation Failed; base: invalid; No commits",
        ),
        ({"message": {"title": ["can't be blank", "is short"]}}, "title: can't be blank, is short"),
        (
            {"message": ["Another open merge request exists: !3"]},
            "Another open merge request exists: !3",
        ),
        (
            {"error": "insufficient_scope", "error_description": "It needs api"},
            "It needs api; insufficient_scope",
        ),
        ("plain \x1b[31mred\x1b[0m\nlines", "plain red lines"),
        (b"<html>", ""),
        (None, ""),
    ],
)
def test_every_shape_of_words(body: object, says: str) -> None:
    assert words(body) == says


@given(JSON)
def test_any_json_is_one_short_line(body: object) -> None:
    said = words(body)
    assert len(said) <= 300
    assert len(said.splitlines()) <= 1


RESET = str(int(NOW.timestamp()) + 30)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (Answer(429, "", {"retry-after": "20"}), 20),
        (Answer(429, "", {"retry-after": "Fri, 20 Nov 2026 14:00:40 GMT"}), 40),
        (Answer(429, "", {"retry-after": "soon"}), 1),
        (Answer(429, "", {"retry-after": "-5"}), 1),
        (Answer(429, "", {"ratelimit-reset": RESET}), 31),
        (Answer(403, "", {"x-ratelimit-remaining": "0", "x-ratelimit-reset": RESET}), 31),
        (Answer(403, "You have exceeded a secondary rate limit."), 60),
        (Answer(403, "Resource not accessible", {"x-ratelimit-remaining": "9"}), None),
        (Answer(502, ""), 1),
        (Answer(503, "", {"retry-after": "7"}), 7),
        (Answer(500, ""), None),
        (Answer(404, ""), None),
        (Answer(0, "connection reset"), 1),
        (Answer(0, "connection refused"), None),
        (Answer(0, "no answer in time"), None),
    ],
)
def test_what_is_tried_again_and_when(answer: Answer, seconds: float | None) -> None:
    assert pause(answer, 0, NOW) == seconds
    assert pause(answer, 3, NOW) is None


@given(st.sampled_from([403, 429, 503]), st.text(), st.text())
def test_no_header_makes_it_fail(status: int, after: str, reset: str) -> None:
    headers = {"retry-after": after, "x-ratelimit-reset": reset, "x-ratelimit-remaining": "0"}
    wait = pause(Answer(status, "", headers), 0, NOW)
    assert wait is None or wait >= 1
    refused(Answer(status, "", headers), ASKED, SITE, NOW)


@pytest.mark.parametrize(
    ("answer", "site", "kind", "sentence"),
    [
        (Answer(401, ""), SITE, AccessDenied, "github.com does not accept the token in MY_TOKEN"),
        (
            Answer(403, "no", {"x-accepted-github-permissions": "contents=read"}),
            SITE,
            AccessDenied,
            "the token in MY_TOKEN may not open a pull request in a/b, it needs contents: read: no",
        ),
        (
            Answer(404, "Not Found"),
            SITE,
            NotFound,
            f"cannot open a pull request: github.com has no such thing, {UNSEEN}",
        ),
        (
            Answer(404, "Not Found"),
            ANONYMOUS,
            AccessDenied,
            "github.com needs a token to open a pull request, set: GITHUB_TOKEN or MY_TOKEN",
        ),
        (
            Answer(422, "base: invalid k3y"),
            SITE,
            ChangeRefused,
            "github.com refused to open a pull request: base: invalid [token]",
        ),
        (
            Answer(429, "", {"retry-after": "1500"}),
            SITE,
            UnreachableError,
            "github.com allows no more requests until 14:25:00 UTC (in 25m)",
        ),
        (Answer(0, "connection refused"), SITE, UnreachableError, "github.com: connection refused"),
        (
            Answer(504, ""),
            SITE,
            UnreachableError,
            "github.com could not open a pull request: HTTP 504",
        ),
    ],
)
def test_one_sentence_to_act_on(
    answer: Answer, site: Site, kind: type[Exception], sentence: str
) -> None:
    error = refused(answer, ASKED, site, NOW)
    assert type(error) is kind
    assert str(error) == sentence


def test_github_says_which_permission_is_missing() -> None:
    told = {"x-accepted-github-permissions": "issues=write,contents=read; pull_requests=write"}
    error = refused(Answer(403, "", told), ASKED, SITE, NOW)
    assert isinstance(error, AccessDenied)
    assert error.needs == "issues: write and contents: read or pull_requests: write"
