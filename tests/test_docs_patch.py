"""docs/patch.md: its edits are made, its playbook is sound, and what goes wrong goes wrong so."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from smoldebug.cli import program
from smoldebug.cli.repositories import TOKENS
from smoldebug.edits.draft import draft
from smoldebug.errors import AccessDenied
from smoldebug.events import ChangeSettled, Drafted, Note
from smoldebug.playbook.load import load
from smoldebug.playbook.patches import (
    Edit,
    ManifestsCheck,
    PullRequestTool,
    Select,
    SetEnv,
    SetImage,
    SetReplicas,
)
from smoldebug.playbook.patchrules import actions_of
from smoldebug.preview.lint import lint
from smoldebug.sources.fake_repository import FakeForge
from smoldebug.sources.fakes import MemoryTree
from smoldebug.sources.forge.open import kind_at
from smoldebug.sources.forge.site import forge_token
from tests.test_patch import FAILED, PASSED, Patching, deployment, shop

PAGE = (Path(__file__).parent.parent / "docs" / "patch.md").read_text(encoding="utf-8")
WHOLE, EDITS, OWN_FORGE = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)
HEAD = "apiVersion: smoldebug.dev/v1\nname: example\n"
WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: staging
  labels: {old-team: a}
  annotations: {example.org/old: a}
spec:
  replicas: 1
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: app
          image: web:1
          args: [a]
          env:
            - {name: OLD_FLAG, value: a}
      volumes:
        - {name: old, emptyDir: {}}
"""


# --- playbook and edits ---------------------------------------------------------------------


def test_the_playbook_of_the_page_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "more-auth.yaml"
    path.write_text(WHOLE, encoding="utf-8")
    linted = lint(path)
    assert (linted.errors, linted.warnings, linted.unsupported) == ((), (), ())


def edits(folder: Path) -> list[Edit]:
    path = folder / "example.yaml"
    goal = "goal: {all: [{manifests: {select: {kind: Deployment}, matches: {a: b}}}]}\n"
    path.write_text(f"{HEAD}{goal}tools: {{git: {{}}}}\n{EDITS}", encoding="utf-8")
    return load(str(path)).playbook.edits


def test_every_edit_there_is_has_an_example_that_works(tmp_path: Path) -> None:
    shown = [name for edit in edits(tmp_path) for name in actions_of(edit)]
    assert shown == [key for key in Edit.__struct_fields__ if key not in ("select", "paths")]
    check = ManifestsCheck(select=Select(kind="Deployment"))
    done = draft(MemoryTree({"web.yaml": WEB.encode()}), edits(tmp_path), check)
    assert {row.state for row in done.edited} == {"changed"}
    assert yaml.safe_load(done.files["web.yaml"]) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "namespace": "staging",
            "labels": {"team": "shop"},
            "annotations": {"example.org/incident": "INC-7"},
        },
        "spec": {
            "replicas": 4,
            "strategy": {"rollingUpdate": {"maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {"app": "web", "team": "shop"}},
                "spec": {
                    "containers": [
                        {
                            "name": "app",
                            "image": "registry.example/shop/auth:1.4.2",
                            "env": [{"name": "FEATURE_FLAG", "value": "true"}],
                            "resources": {"requests": {"cpu": "200m"}, "limits": {"memory": "1Gi"}},
                            "readinessProbe": {"httpGet": {"path": "/health", "port": 8080}},
                        }
                    ],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                },
            },
        },
    }


def test_what_happens_where_another_value_stands_is_as_the_page_says(tmp_path: Path) -> None:
    actions = {name: getattr(edit, name) for edit in edits(tmp_path) for name in actions_of(edit)}
    how = {name: getattr(action, "if_different", "") for name, action in actions.items()}
    asking = {name for name, default in how.items() if default == "stop-and-ask"}
    (said,) = re.findall(r"`stop-and-ask` \(of (.*?) the default\)", " ".join(PAGE.split()))
    assert set(re.findall(r"`(\w+)`", said)) == asking
    assert {how[name] for name in how.keys() - asking} == {"overwrite", ""}


# --- layers ---------------------------------------------------------------------------------

FLAG = Edit(set_env=SetEnv(name="FLAG", value="on"))
KUSTOMIZE = {
    "base/auth.yaml": deployment("auth").replace(b", namespace: staging", b""),
    "base/kustomization.yaml": b"resources: [auth.yaml]\n",
    "overlays/staging/kustomization.yaml": b"namespace: staging\nresources: [../../base]\n",
    "overlays/production/kustomization.yaml": b"namespace: production\nresources: [../../base]\n",
}
CHART = {
    "chart/Chart.yaml": b"name: auth\nversion: 1.0.0\n",
    "chart/values.yaml": b"replicas: 1\n",
    "chart/values-staging.yaml": b"replicas: 2\n",
    "chart/templates/auth.yaml": deployment("auth")
    .replace(b", namespace: staging", b"")
    .replace(b"spec:\n  template", b"spec:\n  replicas: {{ .Values.replicas }}\n  template"),
}


@pytest.mark.parametrize(
    ("files", "edit", "namespace", "edited"),
    [
        (KUSTOMIZE, FLAG, "", ["base/auth.yaml"]),
        (
            KUSTOMIZE,
            FLAG,
            "staging",
            ["overlays/staging/kustomization.yaml", "overlays/staging/patch-auth.yaml"],
        ),
        (
            KUSTOMIZE,
            Edit(set_image=SetImage(image="shop/auth:2")),
            "staging",
            ["overlays/staging/kustomization.yaml"],
        ),
        (
            CHART,
            Edit(set_replicas=SetReplicas(replicas=4)),
            "staging",
            ["chart/values-staging.yaml"],
        ),
    ],
)
def test_the_layer_is_edited_that_the_page_says(
    files: dict[str, bytes], edit: Edit, namespace: str, edited: list[str]
) -> None:
    made = msgspec.structs.replace(edit, select=Select(kind="Deployment", namespace=namespace))
    done = draft(MemoryTree(files), [made], None)
    assert sorted(done.files) == edited


# --- forges -----------------------------------------------------------------------------------


def test_a_token_goes_to_its_own_forge() -> None:
    rows = dict(re.findall(r"^\| (GitHub|GitLab|Gitea)[^|]* \| (`.*?) \|", PAGE, re.M))
    named = {kind.lower(): re.findall(r"`(\w+)`", names) for kind, names in rows.items()}
    assert sorted(name for names in named.values() for name in names) == sorted(TOKENS)
    everything = {name: name for name in TOKENS}
    for kind, names in named.items():
        assert forge_token(TOKENS, everything, kind) in names


def test_a_forge_of_ones_own_is_named_with_its_host(tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    goal = 'goal: {all: [{command: {run: ["true"]}}]}\n'
    path.write_text(f"{HEAD}{goal}{OWN_FORGE}", encoding="utf-8")
    playbook = load(str(path)).playbook
    request, secret = playbook.tools.pull_request, playbook.secrets["forge_token"]
    assert request is not None
    assert kind_at(request, "git.corp.example") == "gitlab"
    assert isinstance(secret.from_env, str)
    given = {secret.from_env: "s3cret"}
    assert forge_token([secret.from_env], given, "gitlab") == "s3cret"
    assert forge_token([secret.from_env], given, "github") == ""
    assert kind_at(PullRequestTool(), "git.corp.example") == ""


# --- what goes wrong ------------------------------------------------------------------------

AUTH = deployment("auth")


class Refusing(FakeForge):
    def open(self, text: Any) -> Any:
        raise AccessDenied("the token may not open a pull request")


class Protecting(FakeForge):
    def protected(self, branch: str) -> bool:
        return True


def auth(content: bytes) -> dict[str, Any]:
    return {"files": {**shop(), "deploy/auth.yaml": content}}


def chart() -> dict[str, Any]:
    bare = AUTH.replace(b", namespace: staging", b", namespace: {{ .Release.Namespace }}")
    named = {"values-staging.yaml": b"{}\n", "Chart.yaml": b"name: auth\nversion: 1.0.0\n"}
    files = {f"deploy/auth/{name}": content for name, content in named.items()}
    return {"files": {**files, "deploy/auth/templates/auth.yaml": bare}}


ALIAS = b"env: &env []\n          x: *env\n          image:"
WRONG: dict[str, dict[str, Any]] = {
    "a file is no YAML": auth(AUTH + b"  bad: [\n"),
    "a key is given twice": auth(AUTH + b"spec: {}\n"),
    "a template outside a chart": auth(AUTH.replace(b"shop/auth:1", b"{{ .Values.image }}")),
    "a file over 10 MB": auth(AUTH + b"#" * 10_000_000),
    "a file in Git LFS": auth(b"version https://git-lfs.github.com/spec/v1\n"),
    "an object is in two files of a folder": {"files": {**shop(), "deploy/again.yaml": AUTH}},
    "no object is selected": {"files": {"README.md": b"shop\n"}},
    "an anchor is used elsewhere too": auth(AUTH.replace(b"image:", ALIAS)),
    "a chart has no value for it": chart(),
    "more files than `limits.files`": {"limits": "limits: {files: 1}"},
    "the branch is protected": {"forge": Protecting},
    "the token may not open it": {"forge": Refusing},
    "a check fails": {"runs": [PASSED, FAILED]},
    "no forge is known": {"forge": None},
}
ADDRESSES = {
    "an address that Git would run": "ext::sh -c id",
    "a password in the address": "https://me:s3cret@git.example/shop/manifests.git",
}
ROWS = re.findall(r"^\| (.*?) \| `(.*?)`(?: \(.*?\))? \| (\d) \|$", PAGE, re.M)


def test_the_table_holds_what_is_tried() -> None:
    assert [what for what, _, _ in ROWS] == [*WRONG, *ADDRESSES]


@pytest.mark.parametrize(("what", "says", "status"), [row for row in ROWS if row[0] in WRONG])
def test_what_goes_wrong_is_said(tmp_path: Path, what: str, says: str, status: str) -> None:
    patching = Patching(tmp_path, **WRONG[what])
    ended = patching.play()
    told = [ended.reason]
    told += [line for event in patching.of(Drafted) for line in event.problems]
    told += [event.text for event in patching.of(Note)]
    told += [event.detail for event in patching.of(ChangeSettled)]
    assert says in "\n".join(told)
    assert int(ended.status) == int(status)


@pytest.mark.parametrize(("what", "says", "status"), [row for row in ROWS if row[0] in ADDRESSES])
def test_an_address_that_may_not_be_used(
    tmp_path: Path,
    what: str,
    says: str,
    status: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path / "home"))
    path = tmp_path / "more-auth.yaml"
    path.write_text(WHOLE, encoding="utf-8")
    arguments = ["patch", "-p", str(path), "--repo", ADDRESSES[what], "--dry-run"]
    assert program(arguments) == int(status)
    error = capsys.readouterr().err
    assert says in error
    assert "s3cret" not in error
