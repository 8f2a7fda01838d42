"""Secrets are masked, ordinary lines are not, and no line makes it slow."""

import base64
import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ordinary import lines

from smoldebug.errors import UsageError
from smoldebug.personal import CLASSES, luhn
from smoldebug.redact import Redactor, mask

MASK = re.compile(rf"\[(?:secret|{'|'.join(CLASSES)}):[0-9a-f]{{4}}\]")

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.TJVA95OrM7E2cBab30RMHrHDcEfxjoYZgeFONFh7HgQ"
BODY = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"] * 3)
AWS = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}\n-----END RSA PRIVATE KEY-----"
PEM_LINE = PEM.replace("\n", "\\n")

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
    (f"AKIAIOSFODNN7EXAMPLE:{AWS}", AWS),
    (f"AKIAIOSFODNN7EXAMPLE,{AWS}", AWS),
    (f'{{"AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"{AWS}"}}', AWS),
    ("AccountName=x;AccountKey=Eby8vdM02xNOcqFlqUwJ/Llm==;Suffix=y", "Eby8vdM02xNOcqFlqUwJ/Llm=="),
    ("sb://x/;SharedAccessKeyName=Root;SharedAccessKey=abc123abc123=", "abc123abc123="),
    ("https://x.blob.example/c?sv=2020&sig=Zm9vYmFyYmF6cXV4%3D&se=1", "Zm9vYmFyYmF6cXV4%3D"),
    ("https://s3.example/x?X-Amz-Signature=0123456789abcdef0123", "0123456789abcdef0123"),
    ("post https://hooks.slack.com/services/T0000/B0000/XXXXXXXX", "T0000/B0000/XXXXXXXX"),
    ("Server=db;Database=shop;Uid=app;Pwd=hunter22;", "hunter22"),
    ("app:hunter22@tcp(db:3306)/orders", "hunter22"),
    ("DB_PASS=hunter22", "hunter22"),
    ('{"user":"bob","pass":"hunter22"}', "hunter22"),
    ("redirect=%3Ftoken%3Dabc123def", "abc123def"),
    ("SG.abcdefghijklmnop.abcdefghijklmnopqrst", "SG.abcdefghijklmnop.abcdefghijklmnopqrst"),
    (f'{{"type":"service_account","private_key":"{PEM_LINE}","client_id":"1"}}', PEM_LINE[30:90]),
    (f"tail of it:\n{BODY.splitlines()[1]}\n-----END PRIVATE KEY-----", BODY.splitlines()[1]),
    ("env cGFzc3dvcmQ9aHVudGVyMjI= set", "cGFzc3dvcmQ9aHVudGVyMjI="),
    ("kind: Secret\ndata:\n  pin: MTIzNA==\ntype: Opaque\n", "MTIzNA=="),
    ("kind: Secret\nstringData:\n  note: |\n    ab\n    cd\n", "ab\n"),
    ('{"kind": "Secret", "data": {"pin": "MTIzNA=="}}', "MTIzNA=="),
    ('{"note":"{\\"kind\\":\\"Secret\\",\\"data\\":{\\"pin\\":\\"MTIzNA==\\"}}"}', "MTIzNA=="),
]

PERSONAL = [  # (class, line, what must not be left of it)
    ("email", "mail to <bob.smith+x@mail.example.co.uk>, bounced", "bob.smith"),
    ("email", '{"level":"info","user":"bob@example.org"}', "bob@"),
    ("email", "GET http://auth:8080/login?next=/cart&user=bob@example.org 502", "bob@"),
    ("phone", "call +49 171 1234567 now", "1234567"),
    ("phone", "call +1 (415) 555-2671.", "2671"),
    ("phone", "call (415) 555-2671", "2671"),
    ("phone", "sms to 415-555-2671 failed", "2671"),
    ("phone", "sms to +4917112345678 failed", "12345678"),
    ("phone", "?to=%2B491711234567&x=1", "1234567"),
    ("phone", '{"phone": "0171 1234567"}', "1234567"),
    ("phone", "msisdn=491711234567", "1234567"),
    ("card", "card 4111 1111 1111 1111 declined", "1111 1111"),
    ("card", "card 4111-1111-1111-1111.", "1111-1111"),
    ("card", '{"pan":"6011111111111117"}', "6011"),
    ("card", "amex 3782 822463 10005", "822463"),
    ("card", "amex=378282246310005", "822463"),
    ("iban", "IBAN DE89 3704 0044 0532 0130 00 unknown", "3704"),
    ("iban", "from=DE89370400440532013000&to=x", "3704"),
    ("iban", "GB82 WEST 1234 5698 7654 32 FAILED", "WEST"),
    ("iban", '{"iban":"BE68539007547034"}', "5390"),
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
{"level":"info","url":"http://auth.shop.svc:8080","user":"bob"}
{"level":"error","msg":"upstream timeout","upstream":"http://auth.shop.svc:8080","took":5.001}
GET http://auth:8080/login?next=/cart&user=bob 502
postgres://app@db.shop.svc:5432/orders refused
user@1000.service: Deactivated successfully, getty@tty1.service too
git@github.com:shop/auth.git at 4bf92f3
SharedAccessKeyName=RootManageSharedAccessKey
id=4111111111111111 trace_id: 4111111111111111 span="4111111111111111"
4111111111111112 is no card, nor is 0.4111111111111111 or 4111111111111111.5
4111 1111 1111 1111 1111 is a row of a table
DE89370400440532013001 has a wrong remainder
heap +1073741824 offset=+123456789012 lag +12345678901 bytes +10737418240 B
at 2026-11-20T14:02:11.123+00:00 1795183331123 1795183331123456 1795183331123456789
tests: pass: 1234 fail: 5678
signature=Lcom/example/Pool; signature: ok
kind: Secret
kind: ConfigMap\ndata:\n  level: debug
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
        + ["[email:0af3]", "[phone:0123]", "+49", "1711234567", "phone=", "bob@a.org", "4111", "-"]
        + ["DE89 3704 0044 0532 0130 00", "4111 1111 1111 1111", "kind: Secret\ndata:\n  ", ": "]
        + ['"kind":"Secret","data":{"', '":"', "cGFzc3dvcmQ9aHVudGVyMjI=", AWS, "sig=", "pwd=", ";"]
    ),
    st.text(max_size=8),
)
texts = st.lists(fragments, max_size=12).map("".join)


@pytest.mark.parametrize(("line", "secret"), SECRET)
def test_a_secret_is_masked(line: str, secret: str):
    said = Redactor().text(line)
    assert secret not in said
    assert re.search(r"\[secret:[0-9a-f]{4}\]", said)


@pytest.mark.parametrize(("kind", "line", "what"), PERSONAL)
def test_personal_data_is_masked_by_class(kind: str, line: str, what: str):
    said = Redactor().text(line)
    assert what not in said
    assert re.search(rf"\[{kind}:[0-9a-f]{{4}}\]", said)
    assert Redactor(classes=set(CLASSES) - {kind}).text(line) == line


def test_one_number_is_one_mask_however_it_is_written():
    for ways in (
        ["4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111"],
        ["DE89 3704 0044 0532 0130 00", "DE89370400440532013000"],
        ["+49 171 1234567", "+49171/1234567", "%2B491711234567"],
    ):
        assert len({Redactor().text(f"say {way},") for way in ways}) == 1


def test_a_class_that_nobody_knows_is_refused():
    with pytest.raises(UsageError, match="unknown class of personal data: phones"):
        Redactor(classes=["phones"])


def test_ten_thousand_ordinary_lines_of_many_formats_stay_as_they_are():
    assert [line for line in lines(10_000, seed=1) if Redactor().text(line) != line] == []


@given(st.integers(10**14, 10**18))
def test_numbers_that_count_are_no_cards(number: int):
    for said in (f"id={number}", f'"bytes": {number}', f"took {number / 10**15}"):
        assert Redactor().text(said) == said


@given(st.from_regex(r"4\d{15}", fullmatch=True))
def test_a_card_is_told_by_its_check_digit(number: str):
    masked = Redactor().text(f"paid with {number} today") != f"paid with {number} today"
    assert masked == luhn(number)


def test_masks_are_of_a_run_and_tell_nothing_to_others():
    first, resumed, other = (Redactor(key=key) for key in (b"a" * 16, b"a" * 16, b"b" * 16))
    assert first.text("password=hunter22") == resumed.text("password=hunter22")
    assert first.text("+491711234567") != other.text("+491711234567")


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
@example("0000000;kind: Secret\ndata:\n  0000000;")  # told by a line below the one it stands in
def test_redacting_twice_is_redacting_once(text: str):
    redactor = Redactor(["abcdef", "hunter22"])
    once = redactor.text(text)
    assert redactor.text(once) == once


@given(texts, st.text(min_size=6).filter(lambda value: not value.startswith("secret")), texts)
def test_a_learned_value_never_comes_through(before: str, value: str, after: str):
    redactor = Redactor([value])
    encoded = base64.b64encode(value.encode(errors="replace")).decode()
    for text in (f"{before}{value}{after}", f"{before} {encoded} {after}"):
        said = MASK.sub("\0", redactor.text(text))
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


def test_what_a_key_calls_secret_is_known_from_then_on():
    redactor = Redactor()
    env = {"env": [{"name": "DB_PASSWORD", "value": "hunter22-prod"}]}
    assert redactor.json(["login hunter22-prod", env])[0] == f"login {mask('hunter22-prod')}"
    told = redactor.text("GET /x?p=hunter22-prod dsn aHVudGVyMjItcHJvZA==")
    assert told == f"GET /x?p={mask('hunter22-prod')} dsn {mask('hunter22-prod')}"


def test_a_plain_word_is_not_hunted_for_because_it_is_somebodys_password():
    redactor = Redactor()
    assert redactor.json({"password": "postgres"}) == {"password": mask("postgres")}
    assert redactor.text("cannot reach postgres") == "cannot reach postgres"


def test_of_a_secret_only_the_keys_are_told():
    redactor = Redactor()
    secret = {
        "kind": "Secret",
        "metadata": {"name": "auth"},
        "data": {"dsn": base64.b64encode(b"app/hunter22").decode(), "pin": "MTIzNA=="},
        "stringData": {"note": "app/hunter22"},
    }
    told = redactor.json(secret)
    assert told["data"] == {"dsn": mask("app/hunter22"), "pin": mask("1234")}
    assert told["stringData"] == {"note": mask("app/hunter22")}
    for form in (json.dumps(secret), json.dumps(secret, indent=2)):
        assert "MTIzNA" not in redactor.text(form)
        assert Redactor().text(form).count(mask("app/hunter22")) == 2
    assert redactor.text("cannot log in as app/hunter22") == (
        f"cannot log in as {mask('app/hunter22')}"
    )


jsons = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["name", "value", "token", "data", "kind"]), inner, max_size=3
        ),
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
