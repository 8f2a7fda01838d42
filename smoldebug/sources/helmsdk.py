"""The part of the `helm` command that smoldebug uses, on top of Helm 4 as a Python package.

It takes the same words, prints the same JSON and ends with the same status, so where there is no
`helm` it serves by hand too:

    python -m smoldebug.sources.helmsdk history --namespace shop platform
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from smoldebug.errors import ToolError
from smoldebug.sources.goyaml import documents, written

if TYPE_CHECKING:
    from helm_python import Config

DESCRIBED = 10  # newest revisions whose description is told: each takes a request
HOOK = "helm.sh/hook"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Given = argparse.Namespace


def main(argv: Sequence[str] | None = None) -> int:
    given = parser().parse_args(argv)
    from helm_python import HelmError

    try:
        sys.stdout.write(given.run(given))
    except (
        HelmError,
        ToolError,
        OSError,
        ValueError,
    ) as error:  # files that are not there, or no JSON
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


# --- verbs ----------------------------------------------------------------------------------


def version(given: Given) -> str:
    from helm_python import helm_sdk_version

    return str(helm_sdk_version())


def history(given: Given) -> str:
    with _config(given) as config:
        rows = config.history(given.release, max_revisions=given.max)
        told = {
            row["revision"]: config.get_all(given.release, revision=row["revision"])["info"]
            for row in rows[-DESCRIBED:]
        }
    return json.dumps([_row(row, told.get(row["revision"], {})) for row in rows])


def _row(row: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    return {
        "revision": row["revision"],
        "updated": info.get("last_deployed") or row.get("deployed_at", ""),
        "status": row["status"],
        "chart": f"{row['chart_name']}-{row['chart_version']}",
        "app_version": row.get("app_version", ""),
        "description": info.get("description", ""),
    }


def get(given: Given) -> str:
    with _config(given) as config:
        if given.part == "values":
            return json.dumps(config.get_values(given.release, revision=given.revision))
        if given.part == "hooks":
            found = config.get_all(given.release, revision=given.revision)["hooks"] or []
            return "".join(f"---\n{each['manifest']}\n" for each in found)
        return str(config.status(given.release, revision=given.revision)["manifest"])


def pull(given: Given) -> str:
    import helm_python

    repository, _, name = given.chart.partition("/")
    where = {} if given.chart.startswith("oci://") else _repository(repository)
    chart = name if where else given.chart
    helm_python.pull(chart, destination=given.destination, version=given.version, **where)
    return ""


def upgrade(given: Given) -> str:
    from helm_python import Chart

    values = json.loads(_text(given.values)) if given.values else {}
    options = {"timeout": given.timeout, "wait": "hookOnly", "dry_run": given.dry_run}
    with _config(given) as config, Chart.load(given.chart) as chart:
        if given.install:
            options["create_namespace"] = given.create_namespace
            done = config.install(chart, given.release, values, **options)
        else:
            options |= {"description": given.description, "max_history": given.history_max}
            done = config.upgrade(chart, given.release, values, reset_values=True, **options)
        if not given.dry_run:
            return ""
        number = done["revision"]
        files = config.render(
            chart, values, name=given.release, namespace=given.namespace, revision=number,
            is_upgrade=True,
        )  # fmt: skip
    return json.dumps({"manifest": done["manifest"], "hooks": list(_hooks(files))})


def _text(path: str) -> str:
    return sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")


def _hooks(files: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A dry run tells nothing of hooks, so they are looked for in what the chart renders to."""
    for path, text in files.items():
        if path.endswith("NOTES.txt"):
            continue
        for document in documents(text, path):
            if events := _annotation(document, HOOK):
                manifest = written(document)
                yield {"manifest": manifest, "events": [each.strip() for each in events.split(",")]}


def _annotation(found: Any, name: str) -> str:
    for key in ("metadata", "annotations", name):
        found = found.get(key) if isinstance(found, dict) else None
    return str(found or "")


def rollback(given: Given) -> str:
    with _config(given) as config:
        options = {"timeout": given.timeout, "wait": "hookOnly"}
        config.rollback(given.release, version=given.revision, **options)
    return ""


def _config(given: Given) -> "Config":
    from helm_python import Config

    return Config(
        kube_context=given.kube_context,
        namespace=given.namespace,
        storage_driver=os.environ.get("HELM_DRIVER") or None,
    )


def _repository(name: str) -> dict[str, str]:
    """What `helm repo add` noted down about a repository; nothing where it did not."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    noted = Path(os.environ.get("HELM_REPOSITORY_CONFIG") or f"{home}/helm/repositories.yaml")
    try:
        text = noted.expanduser().read_text("utf-8")
    except OSError:
        return {}
    for each in (yaml.load(text, Loader=_LOADER) or {}).get("repositories") or []:  # noqa: S506
        if each.get("name") == name:
            told = {"repo_url": each["url"], **{k: each.get(k) for k in ("username", "password")}}
            return {key: value for key, value in told.items() if value}
    return {}


# --- words ----------------------------------------------------------------------------------


class Verb(NamedTuple):
    run: Callable[[Given], str]
    names: tuple[str, ...]
    options: tuple[str, ...]


_PLACE = ("--namespace", "--kube-context", "--output")
_CHANGE = (*_PLACE, "--timeout", "--history-max")
VERBS = {
    "version": Verb(version, (), ("--template",)),
    "history": Verb(history, ("release",), (*_PLACE, "--max")),
    "get": Verb(get, ("part", "release"), (*_PLACE, "--revision")),
    "pull": Verb(pull, ("chart",), ("--destination", "--version")),
    "upgrade": Verb(
        upgrade,
        ("release", "chart"),
        (
            *_CHANGE,
            "--values",
            "--reset-values",
            "--dry-run",
            "--install",
            "--create-namespace",
            "--description",
        ),
    ),
    "rollback": Verb(rollback, ("release", "revision"), _CHANGE),
}
_MEANS: dict[str, dict[str, Any]] = {
    "part": {"choices": ["manifest", "values", "hooks"]},
    "revision": {"type": int},
    "--create-namespace": {"action": "store_true"},
    "--destination": {"default": "."},
    "--dry-run": {"choices": ["server"]},
    "--history-max": {"type": int, "default": 10},
    "--install": {"action": "store_true"},
    "--max": {"type": int, "default": 256},
    "--namespace": {"default": "default"},
    "--output": {"choices": ["json"]},
    "--reset-values": {"choices": ["true"]},
    "--revision": {"type": int},
    "--template": {"choices": ["{{.Version}}"]},
    "--timeout": {"type": lambda text: int(text.removesuffix("s")), "default": 300},
}


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m smoldebug.sources.helmsdk",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verbs = command.add_subparsers(required=True, metavar="VERB")
    for name, verb in VERBS.items():
        words = verbs.add_parser(name, allow_abbrev=False)
        words.set_defaults(run=verb.run)
        for word in (*verb.options, *verb.names):
            words.add_argument(word, **_MEANS.get(word, {}))
    return command


if __name__ == "__main__":
    sys.exit(main())
