"""Secrets are masked, ordinary lines are not, and no line makes it slow."""

import base64
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoldebug.redact import Redactor, mask

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.TJVA95OrM7E2cBab30RMHrHDcEfxjoYZgeFONFh7HgQ"
BODY = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"] * 3)
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}\n-----END RSA PRIVATE KEY-----"

SECRET = [  # (line, what must not be left of it)
    (f"found\n{PEM}\nin the pod", BODY),
    (PEM.replace("\n", "\\n"), "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj"),
    (PEM.partition("-----END")[0], "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj"),
    ("connecting to postgres://app:s3cr3t!@db.shop.svc:5432/orders", "s3cr3t!"),
    ("redis://:hunter22@cache:6379/0", "hunter22"),
    ("amqp://shop:p@ss@mq.shop.svc:5672", "p@ss"),
    (f"session {JWT} opened", JWT),
    ("Authorization: Bearer abc.def-ghi", "abc.def-ghi"),
    ("> authorization: basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ('{"headers":{"Authorization":"Token 98ab76cd"}}', "98ab76cd"),
    ("curl -H 'bearer 0123456789abcdef0123'", "0123456789abcdef0123"),
    ("remote: https://ghp_0123456789abcdefghij@github.com/x/y", "ghp_0123456789abcdefghij"),
    ("push with github_pat_11ABCDEFG0123456789", "github_pat_11ABCDEFG0123456789"),
    ("key AKIAIOSFODNN7EXAMPLE is not valid", "AKIAIOSFODNN7EXAMPLE"),
    ("using sk-proj-abcdefghijklmnop", "sk-proj-abcdefghijklmnop"),
    ("xoxb-123456789012-abcdef posted", "xoxb-123456789012-abcdef"),
    ("DB_PASSWORD=hunter2 ./start", "hunter2"),
    ("password: swordfish", "swordfish"),
    ("login failed for bob, password: swordfish", "swordfish"),
    ("passphrase = correct-horse", "correct-horse"),
    ('password="correct horse battery"', "correct horse battery"),
    ('{"user":"bob","password":"hunter2"}', "hunter2"),
    ('{"msg":"{\\"api_key\\":\\"12ab34cd\\"}"}', "12ab34cd"),
    ("GET /orders?user=1&access_token=a1b2c3d4&page=2", "a1b2c3d4"),
    ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI/K7MDENG"),
    ("SECRET_KEY_BASE: 5f2b9c", "5f2b9c"),
    ("API_KEYS=ab12cd34,ef56", "ab12cd34"),
    ("DB_PASSWORD=abcd", "abcd"),
    ("X-Vault-Token: hvs.CAESIJ", "hvs.CAESIJ"),
    ("clientSecret: abcdefgh", "abcdefgh"),
    ("--api-key=zzzz9999", "zzzz9999"),
    ("- name: DB_PASSWORD\n  value: hunter2", "hunter2"),
    ('{"name": "STRIPE_TOKEN", "value": "tok 12 34"}', "tok 12 34"),
]

ORDINARY = """\
2026-11-20T14:02:11Z INFO checkout request_id=7f3a1c2e path=/api/cart status=200 dur=12ms
2026-11-20T14:02:12Z WARN auth p99=1834ms queue=77 inflight=64 limit=64
E1120 14:02:11.123456       1 reflector.go:147] failed to list *v1.Secret: forbidden
I1120 14:02:11.123456       1 controller.go:116] "Starting" controller="token_cleaner"
Error from server (Forbidden): secrets is forbidden: User "dev" cannot list resource "secrets"
MountVolume.SetUp failed for volume "tls" : secret "checkout-tls" not found
couldn't find key DB_PASSWORD in Secret shop/auth
Error: couldn't find secret: secret checkout-tls is gone
Unable to authenticate the request: invalid bearer token
invalid token: signature mismatch
error: token: expired
oauth2: token expired and refresh token is not set
rate limited by token bucket: refill 100/s, burst 200
token bucket empty for client 10.2.3.4
key=shop/auth resourceVersion=88121
trace_id=4bf92f3577b34da6a3ce929d0e0e4736 span_id=00f067aa0ba902b7
uuid 3fa85f64-5717-4562-b3fc-2c963f66afa6 assigned
image auth@sha256:9b2cf9f2c1d8f0c2b0c6a4f4b0a8a1e6d9d0f7c5e3b1a29887766554433221100
Back-off restarting failed container auth in pod auth-6d9f7c7b9d-x2x4q_shop(3fa85f64)
Readiness probe failed: HTTP probe failed with statuscode: 503
Liveness probe failed: Get "http://10.1.2.3:8080/health": dial tcp 10.1.2.3:8080: connect: refused
{"level":"info","url":"http://auth.shop.svc:8080","user":"bob@example.org"}
{"level":"error","msg":"upstream timeout","upstream":"http://auth.shop.svc:8080","took":5.001}
GET http://auth:8080/login?next=/cart&user=bob@example.org 502
secretName: checkout-tls
secretKeyRef: auth-db
automountServiceAccountToken: false
tokenExpirationSeconds: 3607
POSTGRES_PASSWORD_FILE=/run/secrets/postgres
TOKEN_URL=https://login.example.org/oauth2
tokens: 4096 used, 812 left
prompt_tokens=812 completion_tokens=96
max_tokens=4096
tokenizer=bert-base-uncased loaded in 812 ms
passwordless=true
using password: YES
Access denied for user 'root'@'10.0.0.1' (using password: NO)
password=null
secret=<redacted>
api_key=****************
DB_PASSWORD=$(POSTGRES_SECRET)
token: ${{ secrets.GITHUB_TOKEN }}
the secretary: of state
kubelet: Successfully pulled image in 1.2s (1.2s including waiting)
OOMKilled: container auth exceeded memory limit 128Mi
FATAL: remaining connection slots are reserved for superuser connections
psycopg2.OperationalError: could not connect to server: Connection refused
java.lang.OutOfMemoryError: Java heap space
panic: runtime error: invalid memory address or nil pointer dereference
goroutine 1 [running]: main.main() /app/main.go:42 +0x1d
Traceback (most recent call last): File "/app/auth.py", line 12, in login
ssh://git@github.com/shop/auth.git
Authorization mode: RBAC,Node
authorization: denied by policy
the bearer of this message: nobody
basic auth enabled for /metrics
task-runner-abcdefghijklmnop started
disk-pressure-eviction-manager: nothing to do
cn=checkout,ou=shop,o=example
histogram_quantile(0.99, sum by (le) (rate(auth_latency_seconds_bucket[1m])))
level=info ts=2026-11-20T14:02:11Z caller=main.go:12 msg="loaded 3 keys"
/var/run/secrets/kubernetes.io/serviceaccount/token mounted read-only
-----BEGIN CERTIFICATE-----
expected -----BEGIN PRIVATE KEY----- but the file is empty: check the Secret
cookie jar has 3 entries
{"name":"REPLICAS","value":"12345"}
- name: LOG_LEVEL\\n  value: debug
""".splitlines()

fragments = st.one_of(
    st.sampled_from([line for line, _ in SECRET] + ORDINARY),
    st.sampled_from(
        ["password", "token", "SECRET", "name:", "value:", "=", ": ", '"', "'", "\\", "://", "@"]
        + [":", "/", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "Bearer ", JWT]
        + ["authorization: ", "&", ",", "[secret:0af3]", "[", "]", "\n", " ", "hunter2", "abcdef"]
    ),
    st.text(max_size=8),
)
texts = st.lists(fragments, max_size=12).map("".join)


@pytest.mark.parametrize(("line", "secret"), SECRET)
def test_a_secret_is_masked(line: str, secret: str):
    said = Redactor().text(line)
    assert secret not in said
    assert re.search(r"\[secret:[0-9a-f]{4}\]", said)


@pytest.mark.parametrize("line", ORDINARY)
def test_an_ordinary_line_is_left_alone(line: str):
    assert Redactor().text(line) == line


def test_only_the_secret_is_masked():
    said = Redactor().text("postgres://app:hunter2@db:5432/orders?sslmode=require")
    assert said == f"postgres://app:{mask('hunter2')}@db:5432/orders?sslmode=require"
    assert Redactor().text('{"password":"hunter2","id":7}') == (
        f'{{"password":"{mask("hunter2")}","id":7}}'
    )


def test_the_same_value_has_the_same_mask_everywhere():
    said = Redactor(["hunter22"]).text(
        "password=hunter22 {token: hunter22} redis://:hunter22@c 'secret'='hunter22' x hunter22"
    )
    assert said.count(mask("hunter22")) == 5
    assert len(set(re.findall(r"\[secret:....\]", said))) == 1
    assert mask("hunter22") != mask("hunter23")


@given(texts)
def test_redacting_twice_is_redacting_once(text: str):
    redactor = Redactor(["abcdef", "hunter22"])
    once = redactor.text(text)
    assert redactor.text(once) == once


@given(texts, st.text(min_size=6).filter(lambda value: not value.startswith("secret")), texts)
def test_a_learned_value_never_comes_through(before: str, value: str, after: str):
    redactor = Redactor([value])
    encoded = base64.b64encode(value.encode(errors="replace")).decode()
    for text in (f"{before}{value}{after}", f"{before} {encoded} {after}"):
        said = re.sub(r"\[secret:[0-9a-f]{4}\]", "\0", redactor.text(text))
        assert value not in said
        assert encoded not in said


def test_values_too_short_to_be_told_apart_are_not_learned():
    assert Redactor(["shop", "", "12345"]).text("shop 12345 up") == "shop 12345 up"


def test_values_that_masks_are_made_of_are_not_learned():
    assert Redactor(["secret", "hunter22"]).text("hunter22") == mask("hunter22")


def test_longer_values_go_first():
    assert Redactor(["hunter22", "hunter22-prod"]).text("is hunter22-prod") == (
        f"is {mask('hunter22-prod')}"
    )


def test_json_is_masked_by_value_and_by_key():
    told = Redactor(["hunter22"]).json(
        {
            "text": "pass is hunter22",
            "nested": [{"x": ("token=abc123",)}],
            "password": "swordfish",
            "pin_token": "abc",
            "api_key": "abcd",
            "secretName": "checkout-tls",
            "token": None,
            "env": [
                {"name": "DB_PASSWORD", "value": "correct horse"},
                {"name": "LOG_LEVEL", "value": "debug"},
                {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "auth-db"}}},
            ],
            "replicas": 3,
            "ready": True,
        }
    )
    assert told == {
        "text": f"pass is {mask('hunter22')}",
        "nested": [{"x": [f"token={mask('abc123')}"]}],
        "password": mask("swordfish"),
        "pin_token": "abc",
        "api_key": mask("abcd"),
        "secretName": "checkout-tls",
        "token": None,
        "env": [
            {"name": "DB_PASSWORD", "value": mask("correct horse")},
            {"name": "LOG_LEVEL", "value": "debug"},
            {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "auth-db"}}},
        ],
        "replicas": 3,
        "ready": True,
    }


jsons = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["name", "value", "token", "a"]), inner, max_size=3),
    ),
    max_leaves=5,
)


@given(jsons)
def test_redacted_json_has_the_same_shape_and_stays(value):
    def shape(node):
        if isinstance(node, dict):
            return {key: shape(item) for key, item in node.items()}
        return [shape(item) for item in node] if isinstance(node, list) else type(node)

    once = Redactor().json(value)
    assert shape(once) == shape(value)
    assert Redactor().json(once) == once


# Each of these took seconds to hours with a pattern that backtracks.
SLOW = ["a.", "a-", "eyJ-", "eyJa.", "password", "passwordsecret", "token", "name:", "name: token"]
SLOW += [
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN ",
    "-",
    "://",
    "://a:",
    "://a:b",
    "@",
    "bearer ",
]
SLOW += ["authorization: ", " ", "\n", '"', "\\", '\\"', "password=", "token:  ", "[secret:", "]"]
SLOW += ["sk-", "AKIA", "A", "secret]", "}", "name: password\n", "A+/=", "name\\\\\\'", "password}"]


@pytest.mark.timeout(10)
@pytest.mark.parametrize("unit", SLOW)
@pytest.mark.parametrize("head", ["", "password=", "://u:"])
def test_no_line_of_100_kb_makes_it_slow(head: str, unit: str):
    line = head + unit * (100_000 // len(unit))
    assert Redactor().text(line + "!")


@pytest.mark.timeout(10)
@settings(max_examples=25, deadline=None)
@given(st.text("aeyJpaswordtkn:=-._/@\"'\\ \n[]BEGIN", min_size=1, max_size=12))
def test_no_repetition_makes_it_slow(unit: str):
    assert Redactor().text(unit * (20_000 // len(unit)))
