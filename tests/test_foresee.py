"""`validate --dry-run`: what an upgrade would change, told once for clusters that are alike."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from clusters import deployment, practice
from oncall import SYSTEM, Said

from smoldebug.cli import program

PLAYBOOK = """\
apiVersion: smoldebug.dev/v1
name: image
inputs: {tag: {default: "2"}}
matrix: {cluster: [eu, us]}
goal: {each_service: {list: [Deployment/shop/auth]}, all: [{rollout: {}}]}
steps:
  - set_image: {target: Deployment/shop/auth, image: "auth:${{ inputs.tag }}"}
scope: {namespaces: [shop]}
tools: {change: {allow: [set-image], targets: [Deployment/shop/auth]}}
approval: auto
allow_auto_when: {cluster: [eu, us]}
"""


@pytest.fixture
def clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that begins clusters eu and us, each with this image; and nothing is kept."""
    monkeypatch.setenv("SMOLDEBUG_HOME", str(tmp_path / "home"))
    (tmp_path / "image.yaml").write_text(PLAYBOOK)
    with ExitStack() as stack:

        def begin(**images: str) -> None:
            for name, image in images.items():
                folder = tmp_path / name
                folder.mkdir()
                here = stack.enter_context(practice(folder, SYSTEM, deployment(image=image)))
                config = yaml.safe_load(Path(here.kubeconfig).read_text())
                for kind in ("clusters", "users", "contexts"):
                    config[kind][0]["name"] = name
                config["contexts"][0]["context"] |= {"cluster": name, "user": name}
                Path(here.kubeconfig).write_text(yaml.safe_dump(config))
            paths = [str(tmp_path / name / "kubeconfig") for name in images]
            monkeypatch.setenv("KUBECONFIG", ":".join(paths))

        yield begin
    assert not (tmp_path / "home" / "runs").exists()


@pytest.fixture
def foreseen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(*options: str) -> Said:
        playbook = str(tmp_path / "image.yaml")
        code = program(["validate", "-p", playbook, "--dry-run", *options])
        return Said(code, *capsys.readouterr())

    return run


def test_what_would_happen_alike_in_all_clusters_is_shown_once(clusters, foreseen):
    clusters(eu="auth:1", us="auth:1")
    said = foreseen()
    assert said.code == 0
    assert said.err.splitlines()[:2] == [
        "cluster eu, us",
        "change  C1 set-image Deployment/shop/auth on eu",
    ]
    assert said.err.count("+spec.template.spec.containers[web].image: auth:2") == 1
    assert said.err.endswith("2 of 2 clusters would be changed; nothing was changed\n")
    assert said.out.startswith("# C1 Deployment/shop/auth in eu, us\n")
    assert "+      - image: auth:2" in said.out


def test_what_differs_is_shown_apart(clusters, foreseen):
    clusters(eu="auth:1", us="auth:2")
    said = foreseen()
    assert "cluster eu\n" in said.err
    assert "cluster us\nDeployment/shop/auth runs auth:2 already" in said.err
    assert said.err.splitlines()[-1] == (
        "1 of 2 clusters would be changed; not the same in all of them; nothing was changed"
    )


def test_a_machine_reads_a_document(clusters, foreseen):
    clusters(eu="auth:1", us="auth:2")
    said = foreseen("--output", "json")
    eu, us = said.document["clusters"]
    assert [change["change"]["target"]["name"] for change in eu["changes"]] == ["auth"]
    assert us["changes"] == []
    assert us["notes"] == ["Deployment/shop/auth runs auth:2 already; nothing is changed"]
    assert eu["error"] == us["error"] == ""


def test_a_step_that_cannot_be_made_ends_with_what_its_error_means(
    clusters, foreseen, tmp_path: Path
):
    clusters(eu="auth:1", us="auth:1")
    text = PLAYBOOK.replace("set_image: {target: Deployment/shop/auth", "set_image: {container: x,"
                            " target: Deployment/shop/auth")  # fmt: skip
    (tmp_path / "image.yaml").write_text(text)
    said = foreseen()
    assert said.code != 0
    assert "cannot be made: " in said.err
    assert "0 of 2 clusters would be changed, 2 cannot be; nothing was changed" in said.err


@pytest.mark.parametrize("option", [("--junit", "x.xml"), ("--summary", "x.md"), ("--comment",)])
def test_reports_are_of_runs(clusters, foreseen, option: tuple[str, ...]):
    clusters(eu="auth:1", us="auth:1")
    said = foreseen(*option)
    assert said.code == 2
    assert "a dry run writes no report" in said.err
