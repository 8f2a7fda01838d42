"""Helm by its command: what is asked of it, what its answers mean, and real ones against a lab."""

import functools
import gzip
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from labkit import service_account_kubeconfig
from labserver import Lab, running
from realhelm import each_helm

from smoldebug.errors import (
    AccessDenied,
    NotFound,
    SmoldebugError,
    ToolError,
    UnreachableError,
    UsageError,
)
from smoldebug.records import ObjectRef
from smoldebug.sources import helmsdk
from smoldebug.sources.fakes import FakeProcesses, completed
from smoldebug.sources.goyaml import documents, written
from smoldebug.sources.helm import Chart, Hook, Release, Upgrade
from smoldebug.sources.helm_errors import failure
from smoldebug.sources.helmcharts import Entry, digest_of
from smoldebug.sources.helmcli import LONGEST_OUTPUT, HelmCli, open_helm
from smoldebug.sources.kube_writes import ref_of
from smoldebug.sources.process import LocalProcesses
from smoldebug.sources.world import Completed

SHOP = Release("shop", "platform")
CHART = Chart(Path("/charts/platform"), "platform", "2.5.0", "7", "sha256:0")


class Spoken:
    """A helm that answers by verb, and keeps what it was asked and given."""

    def __init__(self, **answers: str | Completed) -> None:
        self.answers = {"version": "v3.10.1", "history": history(1), **answers}
        self.lines: list[list[str]] = []
        self.given: list[str] = []  # what it read
        self.timeout, self.env = 0.0, dict[str, str]()

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> Completed:
        self.lines.append(list(argv))
        self.timeout, self.env = timeout, dict(env or {})
        self.given += [stdin] if "--values=-" in argv else []
        answer = self.answers.get(argv[1], "")
        return completed(stdout=answer) if isinstance(answer, str) else answer

    def about(self, verb: str) -> list[str]:
        return next(line for line in self.lines if line[1] == verb)


def helm(spoken: Spoken, context: str = "eu", kubeconfig: str = "/a:/b") -> HelmCli:
    return HelmCli(spoken, ["helm"], context=context, kubeconfig=kubeconfig)


def history(count: int) -> str:
    rows = [
        {
            "revision": number,
            "updated": "2026-11-20T23:29:16.017035379Z",
            "status": "deployed" if number == count else "superseded",
            "chart": "platform-2.4.0",
            "app_version": "1.0",
            "description": "Install complete",
        }
        for number in range(1, count + 1)
    ]
    return json.dumps(rows) + "\n"


# --- what its answers mean ------------------------------------------------------------------

MANIFEST = """\
---
# Source: platform/templates/all.yaml
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: 0x2, paused: no}
---
# only a comment
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: times, namespace: other}, data: {at: 12:30}}
- {apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: reader}}
"""


def test_history_is_told_oldest_first():
    rows = json.loads(history(2))
    spoken = Spoken(history=json.dumps(rows[::-1]))
    first, second = helm(spoken).history(SHOP)
    assert (first.number, first.status, second.status) == (1, "superseded", "deployed")
    assert second.updated == datetime(2026, 11, 20, 23, 29, 16, 17035, UTC)
    assert (second.chart, second.app_version) == ("platform-2.4.0", "1.0")
    assert spoken.lines == [
        ["helm", "history", "--namespace=shop", "--output=json", "--max=256",
         "--kube-context=eu", "--", "platform"]
    ]  # fmt: skip


def test_objects_have_their_namespace_and_lists_are_taken_apart():
    spoken = Spoken(get=MANIFEST)
    web, times, reader = helm(spoken).objects(SHOP, 3)
    assert web["metadata"] == {"name": "web", "namespace": "shop"}
    assert web["spec"] == {"replicas": 2, "paused": False}
    assert (times["metadata"]["namespace"], times["data"]) == ("other", {"at": "12:30"})
    assert reader["metadata"] == {"name": "reader"}
    assert spoken.lines[0][1:3] == ["get", "manifest"]
    assert "--revision=3" in spoken.lines[0]


@pytest.mark.parametrize(("said", "given"), [("null\n", {}), ('{"a":{"b":1}}', {"a": {"b": 1}})])
def test_values_are_the_users(said: str, given: dict[str, Any]):
    spoken = Spoken(get=said)
    assert helm(spoken).values(SHOP) == given
    assert not any(word.startswith("--revision") for word in spoken.lines[0])


@pytest.mark.parametrize("said", ["", "{", "[1]", '[{"revision": "x"}]', "[" * 200_000])
def test_an_answer_that_is_none_is_an_error(said: str):
    with pytest.raises(ToolError, match="not what Helm answers"):
        helm(Spoken(history=said)).history(SHOP)


@pytest.mark.parametrize("said", ["a: [", "[" * 200_000, "a: *b", "a: 1\nb: \x00"])
def test_a_manifest_that_is_none_is_an_error(said: str):
    with pytest.raises(ToolError, match="manifest of platform cannot be read"):
        helm(Spoken(get=said)).objects(SHOP)


def test_what_was_cut_is_never_read():
    cut = replace(completed(stdout=MANIFEST), cut=True)
    with pytest.raises(ToolError, match="too much"):
        helm(Spoken(get=cut)).objects(SHOP)


DRY_RUN = {
    "name": "platform",
    "chart": {"templates": []},
    "manifest": MANIFEST,
    "hooks": [
        {
            "name": "migrate",
            "manifest": "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate}\n",
            "events": ["pre-upgrade", "pre-rollback"],
        }
    ],
}


@pytest.mark.parametrize(
    ("version", "dry"),
    [("v3.6.2", "true"), ("v3.12.9", "true"), ("v3.13.0", "server"), ("v4.2.3\n", "server")],
)
def test_a_rehearsal_is_the_servers_where_it_can_be(version: str, dry: str):
    spoken = Spoken(version=version, upgrade=json.dumps(DRY_RUN))
    found = helm(spoken).rehearse(Upgrade(SHOP, CHART))
    assert [each["kind"] for each in found.objects] == ["Deployment", "ConfigMap", "ClusterRole"]
    assert found.hooks == (
        Hook(ObjectRef("Job", "shop", "migrate"), ("pre-upgrade", "pre-rollback")),
    )
    assert f"--dry-run={dry}" in spoken.about("upgrade")


@pytest.mark.parametrize("said", ["v2.17.0", "Client: &version.Version{}", "", "v5.0.0"])
def test_other_versions_are_refused(said: str):
    with pytest.raises(ToolError, match="Helm 3 or 4 is needed"):
        helm(Spoken(version=said)).rehearse(Upgrade(SHOP, CHART))


# --- what is asked of it --------------------------------------------------------------------


def test_values_are_read_by_helm_and_stand_in_no_file():
    spoken, values = Spoken(), {"image": {"tag": "2.5"}, "gone": None}
    helm(spoken).upgrade(Upgrade(SHOP, CHART, values, timeout=90.5), "smoldebug r1 C1")
    assert [json.loads(each) for each in spoken.given] == [values]
    assert spoken.about("upgrade") == [
        "helm", "upgrade", "--namespace=shop", "--description=smoldebug r1 C1", "--history-max=10",
        "--reset-values=true", "--values=-", "--kube-context=eu", "--timeout=91s", "--",
        "platform", "/charts/platform",
    ]  # fmt: skip
    assert spoken.timeout > 91


def test_a_rollback_names_its_revision():
    spoken = Spoken()
    helm(spoken, context="").rollback(SHOP, 3, 60.0)
    assert spoken.about("rollback") == [
        "helm", "rollback", "--namespace=shop", "--history-max=10", "--timeout=60s", "--",
        "platform", "3",
    ]  # fmt: skip


@pytest.mark.parametrize(("kept", "limit"), [(2, 10), (40, 40), (256, 0)])
def test_no_more_revisions_are_dropped_than_others_drop(kept: int, limit: int):
    spoken = Spoken(history=history(kept))
    helm(spoken).upgrade(Upgrade(SHOP, CHART), "x")
    assert f"--history-max={limit}" in spoken.about("upgrade")


def test_only_kubeconfig_and_context_say_which_cluster(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HELM_KUBETOKEN", "t")
    monkeypatch.setenv("HELM_KUBEAPISERVER", "https://elsewhere")
    monkeypatch.setenv("HELM_NAMESPACE", "elsewhere")
    monkeypatch.setenv("HELM_DRIVER", "configmap")
    monkeypatch.setenv("KUBECONFIG", "/elsewhere")
    here, inside = Spoken(), Spoken()
    helm(here).history(SHOP)
    helm(inside, "", "").history(SHOP)
    for env in (here.env, inside.env):
        assert not [key for key in env if key.startswith(("HELM_KUBE", "HELM_NAMESPACE"))]
        assert env["HELM_DRIVER"] == "configmap"
        assert env["PATH"] == os.environ["PATH"]
    assert here.env["KUBECONFIG"] == "/a:/b"
    assert "KUBECONFIG" not in inside.env


def test_a_helm_that_does_not_end_is_unreachable():
    with pytest.raises(UnreachableError, match="stopped after 60 s: history of release"):
        helm(Spoken(history=completed(None))).history(SHOP)


anything = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["--help", "-n", "a/b", "oci://x", "web", "a.b", "x" * 54]),
)


@given(anything, anything, anything, anything)
def test_nothing_becomes_an_option(namespace: str, name: str, context: str, words: str):
    spoken = Spoken(upgrade=json.dumps(DRY_RUN))
    cli, release = helm(spoken, context), Release(namespace, name)
    try:
        cli.upgrade(Upgrade(release, CHART), words)
        cli.fetch(words, context, Path(tempfile.gettempdir(), "no", "such"))
    except ToolError:
        pass
    for line in spoken.lines:
        at = line.index("--")
        assert all(re.fullmatch(r"--[a-z-]+=.*", word, re.DOTALL) for word in line[2:at])
        assert not line[at + 1].startswith("-")
        helmsdk.parser().parse_args(line[1:])  # which exits where it knows not a word


def test_the_python_package_takes_the_same_words():
    spoken = Spoken(version="v4.2.3", get="null", upgrade=json.dumps(DRY_RUN))
    cli = helm(spoken)
    cli.values(SHOP, 2)
    cli.rehearse(Upgrade(SHOP, CHART))
    cli.upgrade(Upgrade(SHOP, CHART), "--description")
    cli.rollback(SHOP, 2, 10)
    spoken.answers["get"] = ""
    cli.objects(SHOP)
    taken = [helmsdk.parser().parse_args(line[1:]) for line in spoken.lines]
    verbs = ["get", "version", "upgrade", "history", "upgrade", "history", "rollback", "get"]
    assert [each.run.__name__ for each in taken] == verbs
    assert (taken[4].description, taken[4].timeout) == ("--description", 300)


def test_helm_is_not_started_for_a_cluster_that_does_not_answer():
    def answers() -> None:
        raise UnreachableError("no answer in time")

    spoken = Spoken()
    helm = HelmCli(spoken, ["helm"], answers, context="eu", kubeconfig="k")
    for ask in (lambda: helm.history(SHOP), lambda: helm.rollback(SHOP, 1, 60)):
        with pytest.raises(UnreachableError, match="no answer in time"):
            ask()
    assert spoken.lines == []


def test_a_helm_on_the_path_is_taken_else_the_python_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = tmp_path / "config"
    entry = {"name": "eu", "context": {"cluster": "c", "user": "u"}}
    config.write_text(yaml.safe_dump({"current-context": "eu", "contexts": [entry]}))
    monkeypatch.setenv("PATH", str(tmp_path))
    try:
        open_helm(Spoken(), None, str(config))
    except UsageError as error:
        assert "smoldebug[helm]" in error.hint  # noqa: PT017 it depends on the machine
    (tmp_path / "helm").write_text("#!/bin/sh\n")
    (tmp_path / "helm").chmod(0o755)
    spoken = Spoken()
    open_helm(spoken, None, str(config)).history(SHOP)
    assert spoken.lines[0][0] == str(tmp_path / "helm")
    assert "--kube-context=eu" in spoken.lines[0]
    assert spoken.env["KUBECONFIG"] == str(config)


# --- what its failures mean -----------------------------------------------------------------

READABLE = "WARNING: Kubernetes configuration file is group-readable. This is insecure.\n"
SECRETS = (
    'Error: query: failed to query with labels: secrets is forbidden: User "ci" cannot list'
    ' resource "secrets" in API group "" in the namespace "shop"'
)
EXPIRED = "the server has asked for the client to provide credentials"
WEBHOOK = 'failed calling webhook "v.example.com": dial tcp: connect: connection refused'
DENIED = 'admission webhook "a" denied the request: User "x" cannot use resource "y"'
TEMPLATE = "template: web/templates/a.yaml:3:4: executing at <x>: no such host"
DEPRECATED = "W1120 23:34:13.091201   16977 warnings.go:70] policy/v1beta1 is deprecated\n"
TIMED_OUT = "pre-upgrade hooks failed: timed out waiting for the condition"
CLOSED = "dial tcp 127.0.0.1:1: connect: connection refused"
FAILURES: list[tuple[str, type[SmoldebugError], str]] = [
    ("Error: release: not found", NotFound, "release: not found"),
    ('Error: UPGRADE FAILED: "platform" has no deployed releases', NotFound, "no deployed"),
    ("Error: release has no 44 version", NotFound, "no 44 version"),
    (
        f'{READABLE}Error: Kubernetes cluster unreachable: Get "http://lab/SECRET/api": {CLOSED}',
        UnreachableError,
        f": Kubernetes cluster unreachable: {CLOSED}",
    ),
    ('Error: UPGRADE FAILED: Get "https://eu": TLS handshake timeout', UnreachableError, ": TLS"),
    ('Error: Get "https://r/v2/": dial tcp: no such host', UnreachableError, "no such host"),
    (SECRETS, AccessDenied, "list secrets in namespace shop"),
    (f"Error: Kubernetes cluster unreachable: {EXPIRED}", AccessDenied, "expired or wrong"),
    (f"Error: UPGRADE FAILED: cannot patch web: {WEBHOOK}", ToolError, WEBHOOK),
    (f"Error: UPGRADE FAILED: {DENIED}", ToolError, DENIED),
    (f"Error: UPGRADE FAILED: {TEMPLATE}", ToolError, TEMPLATE),
    (
        f"{DEPRECATED}Error: UPGRADE FAILED: Error: UPGRADE FAILED: {TIMED_OUT}",
        ToolError,
        TIMED_OUT,
    ),
    ("coalesce.go:220: warning: no table\nError: a\n  of two lines", ToolError, ": a of two lines"),
    ("level=WARN msg=x\n\x1b[31mpanic\x07 in the end", ToolError, ": panic in the end"),
    ("", ToolError, "no reason"),
]


@pytest.mark.parametrize(("said", "kind", "words"), FAILURES)
def test_a_failure_is_told_in_helms_own_words(said: str, kind: type[Exception], words: str):
    with pytest.raises(kind) as caught:
        helm(Spoken(history=completed(1, "", said))).history(SHOP)
    told = str(caught.value)
    assert type(caught.value) is kind
    assert words in told
    assert "release shop/platform in context eu" in told
    for noise in ("UPGRADE FAILED", "group-readable", "deprecated", "SECRET", "\n", "\x1b"):
        assert noise not in told


def test_the_missing_right_is_named():
    error = failure(SECRETS, "release shop/platform")
    assert isinstance(error, AccessDenied)
    assert error.needs == "list secrets in namespace shop"


@given(st.text())
def test_any_words_make_one_line(said: str):
    assert "\n" not in str(failure(said, "it"))


# --- charts ---------------------------------------------------------------------------------

ABOUT = "apiVersion: v2\nname: platform\nversion: 2.5.0\nappVersion: 7\n"
FILES = {
    "Chart.yaml": ABOUT,
    "values.yaml": "replicas: 1\n",
    "templates/web.yaml": "kind: X\n",
    "crds/things.yaml": "metadata: {name: things.io}\n---\nmetadata: {name: b.io}",
    "charts/kid/Chart.yaml": "name: kid\nversion: 1.0.0\n",
    "charts/kid/crds/more/kids.yml": "kind: CustomResourceDefinition\nmetadata: {name: kids.io}\n",
}
CRDS = ("b.io", "kids.io", "things.io")


def laid(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def packed(files: Mapping[str, str | bytes], name: str = "platform") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path, text in files.items():
            data = text if isinstance(text, bytes) else text.encode()
            member = tarfile.TarInfo(f"{name}/{path}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def fetched(path: Path, version: str = "") -> Chart:
    """From a folder that is empty each time."""
    into = path.parent / "pulled"
    shutil.rmtree(into, ignore_errors=True)
    return helm(Spoken()).fetch(str(path), version, into)


def test_of_a_folder_a_copy_is_taken(tmp_path: Path):
    chart = fetched(laid(tmp_path / "platform", FILES), "2.5.0")
    assert (chart.name, chart.version, chart.app_version) == ("platform", "2.5.0", "7")
    assert (chart.path, chart.crds) == (tmp_path / "pulled" / "chart", CRDS)
    copy = laid(tmp_path / "copy", dict(reversed(FILES.items())))
    assert fetched(copy).digest == chart.digest
    laid(copy, {"charts/kid/notes": ""})
    assert fetched(copy).digest != chart.digest


def test_of_an_archive_a_copy_is_taken_with_the_archives_in_it(tmp_path: Path):
    within = {f.removeprefix("charts/kid/"): t for f, t in FILES.items() if "charts/kid" in f}
    outer = {name: text for name, text in FILES.items() if "charts/kid" not in name}
    data = packed(outer | {"charts/kid-1.0.0.tgz": packed(within, "kid")})
    path = laid(tmp_path, {"platform-2.5.0.tgz": data}) / "platform-2.5.0.tgz"
    chart = fetched(path)
    assert (chart.version, chart.crds) == ("2.5.0", CRDS)
    assert chart.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_another_version_is_told_with_both(tmp_path: Path):
    with pytest.raises(ToolError, match=r"is version 2\.5\.0, and not: 2\.6\.0"):
        fetched(laid(tmp_path / "platform", FILES), "2.6.0")


def test_links_stay_in_the_chart(tmp_path: Path):
    chart = laid(tmp_path / "platform", FILES)
    (chart / "files").symlink_to("templates")
    before = fetched(chart).digest
    (chart / "files").unlink()
    (chart / "files").symlink_to("crds")
    assert fetched(chart).digest != before
    (chart / "charts" / "out").symlink_to("../../elsewhere")
    with pytest.raises(ToolError, match="charts/out leads out of it"):
        fetched(chart)


def bomb() -> bytes:
    return gzip.compress(bytes(1 << 20)) * 101


BROKEN: dict[str, tuple[Any, str]] = {
    "empty folder": ({"platform/x": ""}, "no Chart.yaml"),
    "no name": ({"platform/Chart.yaml": "version: 1.0.0"}, "no name and version"),
    "a list": ({"platform/Chart.yaml": "[1]"}, "no name and version"),
    "not YAML": ({"platform/Chart.yaml": "a: ["}, "Chart.yaml cannot be read"),
    "not gzip": ({"platform": b"hello"}, "cannot be read"),
    "not tar": ({"platform": gzip.compress(b"hello" * 500)}, "cannot be read"),
    "cut": ({"platform": packed(FILES)[:-20]}, "cannot be read"),
    "empty": ({"platform": b""}, "cannot be read"),
    "a bomb": ({"platform": bomb}, "larger than 100 MiB"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_chart_is_told(tmp_path: Path, what: str):
    files, why = BROKEN[what]
    laid(tmp_path, {name: data() if callable(data) else data for name, data in files.items()})
    with pytest.raises(ToolError, match=why) as caught:
        fetched(tmp_path / "platform")
    assert "Chart.yaml" in str(caught.value) or str(tmp_path / "platform") in str(caught.value)


@pytest.mark.parametrize("chart", ["./nowhere", "/nowhere", "", "--help", "a b", "x" * 5_000, "\0"])
def test_a_chart_that_is_nowhere_is_not_asked_for(tmp_path: Path, chart: str):
    spoken = Spoken()
    with pytest.raises(ToolError, match="no such chart"):
        helm(spoken).fetch(chart, "", tmp_path)
    assert not spoken.lines


def test_a_chart_that_helm_does_not_find_is_named(tmp_path: Path):
    line = "helm pull --destination={} --version=9.9.9 -- lab/platform"
    said = 'Error: chart "platform" matching 9.9.9 not found in lab index.'

    class Pulling(FakeProcesses):
        def run(self, argv: Sequence[str], **options: Any) -> Completed:
            assert " ".join(argv) == line.format(argv[2].partition("=")[2])
            return completed(1, "", said)

    cli = HelmCli(Pulling(), ["helm"], context="", kubeconfig="")
    with pytest.raises(
        ToolError, match=r"the chart lab/platform 9\.9\.9: chart .*not found in lab"
    ):
        cli.fetch("lab/platform", "9.9.9", tmp_path)


entries = st.dictionaries(
    st.text(min_size=1), st.builds(Entry, st.binary(max_size=9), st.booleans()), max_size=6
).filter(lambda found: all(c < "\ud800" or c > "\udfff" for name in found for c in name))


@given(entries, st.randoms())
def test_a_digest_does_not_depend_on_order(found: dict[str, Entry], random: Any):
    items = list(found.items())
    random.shuffle(items)
    assert digest_of(dict(items)) == digest_of(found)


@given(entries, entries)
def test_any_byte_matters(one: dict[str, Entry], other: dict[str, Entry]):
    assert (digest_of(one) == digest_of(other)) == (one == other)


@given(st.data())
def test_a_digest_holds_where_bytes_move_between_files(data: Any):
    text = data.draw(st.binary(min_size=1, max_size=12))
    cuts = data.draw(st.sets(st.integers(0, len(text)), min_size=2))
    found = {digest_of({"a": Entry(text[:at]), "b": Entry(text[at:])}) for at in cuts}
    assert len(found) == len(cuts)


scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.text())
json_values = st.recursive(
    scalars, lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(), x, max_size=4)
)


@given(json_values)
def test_json_is_read_as_it_is(value: Any):
    assert list(documents(written(value), "it")) == [value]


def test_a_billion_laughs_end_early():
    text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{each}: &{each} [{', '.join([f'*{before}'] * 10)}]\n"
        for before, each in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(ToolError, match="more than 1000000 values"):
        list(documents(text, "it"))


def test_anchors_and_merges_are_followed():
    text = "base: &b {x: 1, y_: 2}\nmore: {<<: *b, x: 3}\n---\na: 1"
    assert list(documents(text, "it")) == [
        {"base": {"x": 1, "y_": 2}, "more": {"x": 3, "y_": 2}},
        {"a": 1},
    ]


# --- real ones ------------------------------------------------------------------------------

TEMPLATES = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Values.app }}}}
  template:
    metadata: {labels: {app: {{ .Values.app }}}}
    spec: {containers: [{name: main, image: web:1}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: {{ required "a greeting is needed" .Values.greeting | quote }}}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: before
  annotations: {"helm.sh/hook": "pre-upgrade,post-rollback"}
"""
DEMO = {
    "Chart.yaml": ABOUT,
    "values.yaml": "replicas: 1\ngreeting: hello\napp: web\n",
    "templates/all.yaml": TEMPLATES,
    "templates/NOTES.txt": "helm.sh/hook: [no: YAML\n",
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running(tmp_path) as lab:
        yield lab


@pytest.fixture
def real(helm_argv: list[str], lab: Lab) -> HelmCli:
    return HelmCli(
        LocalProcesses(LONGEST_OUTPUT), helm_argv, context="", kubeconfig=str(lab.kubeconfig)
    )


def installed(argv: list[str], lab: Lab, folder: Path) -> Path:
    """The demo as release shop/platform, of a chart without CRDs: Helm would install these."""
    chart = laid(folder / "demo", DEMO)
    words = ["upgrade", "--install", "--namespace=shop", "platform", str(chart)]
    env = {**os.environ, "KUBECONFIG": str(lab.kubeconfig)}
    done = LocalProcesses().run([*argv, *words], timeout=50, env=env)
    assert done.code == 0, done.stderr
    return laid(chart, {"crds/things.yaml": FILES["crds/things.yaml"]})


def revisions(cli: HelmCli) -> list[tuple[int, str]]:
    return [(each.number, each.status) for each in cli.history(SHOP)]


def stored(lab: Lab) -> list[tuple[str, str]]:
    found = [*lab.core.list_namespaced_config_map("shop").items]
    found += [*lab.core.list_namespaced_secret("shop").items]
    found += [*lab.apps.list_namespaced_deployment("shop").items]
    return [(each.metadata.name, each.metadata.resource_version) for each in found]


@pytest.mark.helm
@each_helm
def test_the_life_of_a_release(helm_argv: list[str], real: HelmCli, lab: Lab, tmp_path: Path):
    folder = installed(helm_argv, lab, tmp_path)
    chart = real.fetch(str(folder), "2.5.0", tmp_path)
    assert chart.crds == ("b.io", "things.io")
    (first,) = real.history(SHOP)
    assert (first.number, first.status, first.chart) == (1, "deployed", "platform-2.5.0")
    assert first.updated is not None

    before, values = (
        stored(lab),
        {"replicas": 2, "big": 2**40, "list": [1, {"a": None}], "é": "😀\x85\u2028"},
    )
    upgrade = Upgrade(SHOP, chart, values, timeout=30)
    rehearsed = real.rehearse(upgrade)
    assert stored(lab) == before
    assert {each["metadata"]["name"] for each in rehearsed.objects} == {"web", "settings"}
    assert rehearsed.hooks == (
        Hook(ObjectRef("ConfigMap", "shop", "before"), ("pre-upgrade", "post-rollback")),
    )

    real.upgrade(upgrade, '--smoldebug "r1" C1')
    assert revisions(real) == [(1, "superseded"), (2, "deployed")]
    assert real.history(SHOP)[1].description == '--smoldebug "r1" C1'
    assert (real.values(SHOP), real.values(SHOP, 1)) == (values, {})
    assert real.objects(SHOP) == rehearsed.objects
    assert lab.apps.read_namespaced_deployment("web", "shop").spec.replicas == 2
    assert lab.core.read_namespaced_config_map("before", "shop")

    real.rollback(SHOP, 1, 30)
    assert revisions(real) == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert lab.apps.read_namespaced_deployment("web", "shop").spec.replicas == 1


@pytest.mark.helm
@each_helm
def test_upgrades_that_fail(helm_argv: list[str], real: HelmCli, lab: Lab, tmp_path: Path):
    chart = real.fetch(str(installed(helm_argv, lab, tmp_path)), "", tmp_path)
    broken = Upgrade(SHOP, chart, {"greeting": ""}, timeout=30)
    for attempt in (real.rehearse, lambda it: real.upgrade(it, "x")):
        with pytest.raises(ToolError, match=r"platform: execution error at .*greeting is needed"):
            attempt(broken)
    assert revisions(real) == [(1, "deployed")]

    immutable = Upgrade(SHOP, chart, {"app": "other"}, timeout=30)
    with pytest.raises(ToolError, match="field is immutable"):
        real.upgrade(immutable, "x")
    assert revisions(real) == [(1, "deployed"), (2, "failed")]
    real.rollback(SHOP, 1, 30)
    assert revisions(real)[2] == (3, "deployed")


@pytest.mark.helm
@each_helm
def test_what_is_not_there_or_not_allowed(
    helm_argv: list[str], real: HelmCli, lab: Lab, tmp_path: Path
):
    chart = real.fetch(str(installed(helm_argv, lab, tmp_path)), "", tmp_path)
    nobody = Release("shop", "nobody")
    with pytest.raises(NotFound, match="no release shop/nobody"):
        real.history(nobody)
    with pytest.raises(NotFound, match="no release shop/nobody"):
        real.rehearse(Upgrade(nobody, chart))
    with pytest.raises(NotFound, match="not that revision"):
        real.values(SHOP, 77)
    with pytest.raises(NotFound, match="not that revision"):
        real.rollback(SHOP, 77, 30)

    poor = str(service_account_kubeconfig(lab.kubeconfig, "shop", "nobody"))
    with pytest.raises(AccessDenied) as denied:
        HelmCli(LocalProcesses(), helm_argv, context="", kubeconfig=poor).history(SHOP)
    assert denied.value.needs == "list secrets in namespace shop"

    config = yaml.safe_load(lab.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:1"
    closed = tmp_path / "closed"
    closed.write_text(yaml.safe_dump(config))
    far = HelmCli(LocalProcesses(), helm_argv, context="", kubeconfig=str(closed))
    with pytest.raises(UnreachableError, match="connection refused"):
        far.history(SHOP)


@pytest.mark.helm
@each_helm
def test_a_chart_is_pulled_from_a_repository(
    helm_argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    archive = packed(FILES)
    served = laid(tmp_path / "served", {"platform-2.5.0.tgz": archive})
    about = {"name": "platform", "version": "2.5.0", "urls": ["platform-2.5.0.tgz"]}
    index = yaml.safe_dump({"apiVersion": "v1", "entries": {"platform": [about]}})
    laid(served, {"index.yaml": index})
    handler = functools.partial(Quiet, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        repository = {"name": "lab", "url": f"http://127.0.0.1:{server.server_port}"}
        known = yaml.safe_dump({"apiVersion": "v1", "repositories": [repository]})
        laid(tmp_path / "helm", {"repositories.yaml": known, "cache/lab-index.yaml": index})
        monkeypatch.setenv("HELM_REPOSITORY_CONFIG", str(tmp_path / "helm" / "repositories.yaml"))
        monkeypatch.setenv("HELM_REPOSITORY_CACHE", str(tmp_path / "helm" / "cache"))
        cli = HelmCli(LocalProcesses(), helm_argv, context="", kubeconfig="")
        try:
            chart = cli.fetch("lab/platform", "2.5.0", tmp_path / "pulled")
            with pytest.raises(ToolError, match=r"the chart lab/platform 9\.9\.9: .*not found"):
                cli.fetch("lab/platform", "9.9.9", tmp_path / "pulled")
        finally:
            server.shutdown()
            thread.join()
    assert chart.digest == f"sha256:{hashlib.sha256(archive).hexdigest()}"
    assert (chart.version, chart.crds) == ("2.5.0", CRDS)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


TRICKS = """\
kind: ConfigMap
apiVersion: v1
metadata: {name: merged, namespace: shop, <<: {namespace: kube-system}}
---
kind: ConfigMap
apiVersion: v1
metadata: {name: twice, namespace: shop, namespace: kube-system}
---
kind: ConfigMap
apiVersion: v1
metadata: {name: !!binary ZW5jb2RlZA==, namespace: !!binary a3ViZS1zeXN0ZW0=}
---
kind: ConfigMap
apiVersion: v1
metadata: {name: innocent}
items: [{kind: ConfigMap, apiVersion: v1, metadata: {name: inside, namespace: kube-system}}]
---
kind: ConfigMapList
apiVersion: v1
items: [{metadata: {name: nameless, namespace: kube-system}}]
---
kind: ConfigMap
apiVersion: v1
metadata: {name: hooked, namespace: kube-system, annotations: {"helm\\x2esh/hook": "pre-upgrade"}}
"""


@pytest.mark.helm
@each_helm
def test_a_real_helm_puts_objects_where_the_guard_sees_them(
    helm_argv: list[str], real: HelmCli, lab: Lab, tmp_path: Path
):
    lab.core.create_namespace({"metadata": {"name": "kube-system"}})
    folder = installed(helm_argv, lab, tmp_path)
    laid(folder, {"templates/tricks.yaml": TRICKS})
    chart = real.fetch(str(folder), "", tmp_path)
    values = {"greeting": "hello"}
    rehearsed = real.rehearse(Upgrade(SHOP, chart, values))
    real.upgrade(Upgrade(SHOP, chart, values, 60), "smoldebug r1 C1")
    hooks = {each.ref for each in rehearsed.hooks}
    assert {each.ref for each in real.hooks(SHOP)} == hooks
    for told in (rehearsed.objects, real.objects(SHOP)):
        refs = {ref for ref in map(ref_of, told) if ref.kind == "ConfigMap"} | hooks
        made = lab.core.list_config_map_for_all_namespaces().items
        there = {ObjectRef("ConfigMap", m.metadata.namespace, m.metadata.name) for m in made}
        assert {ref for ref in there if ref.name != "kube-root-ca.crt"} == refs
        tricks = {ref.name for ref in refs if ref.namespace == "kube-system"}
        assert tricks == {"merged", "twice", "encoded", "inside", "nameless", "hooked"}
