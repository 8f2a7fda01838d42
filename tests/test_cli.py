"""The command line as a whole: every mistake is a sentence, every ending its exit status."""

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml
from clusters import deployment, practice
from commands import Running, move_in, smoldebug

from smoldebug import __version__
from smoldebug.cli import main, program
from smoldebug.errors import UsageError
from smoldebug.events import RunEnded, RunStarted, from_line
from smoldebug.journal import find, read
from smoldebug.sources import servers
from smoldebug.sources.process import LocalProcesses
from smoldebug.status import ExitStatus

ESCALATE = {"calls": [{"escalate": {"reason": "I am at my wits' end"}}]}
NEVER = [sys.executable, "-c", "raise SystemExit(1)"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in: no cluster, no key, no playbook but the shipped ones."""
    move_in(tmp_path, monkeypatch, COLUMNS="160")
    return tmp_path


def playbook(here: Path, *checks: dict[str, Any], **more: Any) -> str:
    """A playbook of its own: `goal` and whatever is given."""
    goal = {"all": list(checks), "every": "50ms", **more.pop("goal", {})}
    path = here / "mine.yaml"
    path.write_text(
        yaml.safe_dump({"apiVersion": "smoldebug.dev/v1", "name": "mine", "goal": goal, **more})
    )
    return str(path)


def command(argv: list[str]) -> dict[str, Any]:
    return {"command": {"run": argv}}


def script(here: Path, *turns: dict[str, Any]) -> str:
    path = here / "script.yaml"
    path.write_text(yaml.safe_dump([*turns, ESCALATE]))
    return f"scripted:{path}"


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# --- mistakes -------------------------------------------------------------------------------

CHECKOUT = ("triage", "-p", "triage-502", "--set", "service=checkout")
LOCAL = ("triage", "-p", "local-server")
UPGRADE = ("triage", "-p", "helm-upgrade", "--set")
LATER = "{apiVersion: smoldebug.dev/v1, name: later, goal: {all: [{sql: {query: SELECT 1}}]}}"
MISTAKES = {
    "unknown command": (("traige",), "No such command 'traige'", "smoldebug --help"),
    "unknown option": (("triage", "--fix"), "No such option: --fix", "smoldebug --help"),
    "option without value": (("triage", "-p"), "Option '-p' requires an argument", "--help"),
    "unknown output": ((*LOCAL, "-o", "xml"), "'xml' is not one of 'rich', 'plain'", "--help"),
    "unknown playbook": (("triage", "-p", "triage-503"), "no such playbook: triage-503", "looked"),
    "unreadable playbook": (("triage", "-p", "./bytes.yaml"), "yaml:1:1 is not UTF-8 text", ""),
    "no such file": (("triage", "-p", "./none.yaml"), "./none.yaml no such file", ""),
    "later version": (("triage", "-p", "./later.yaml"), "does not run yet: goal.all[0].sql", "re"),
    "steps": ((*UPGRADE, "version=2"), "playbook helm-upgrade has steps", "smoldebug validate"),
    "missing input": (("triage", "-p", "triage-502"), "inputs are missing: --set service", ""),
    "unknown input": ((*CHECKOUT, "--set", "colour=red"), "no such input: --set colour; ", ""),
    "no input": ((*LOCAL, "--set", "port"), "--set takes NAME=VALUE", ""),
    "no target": ((*LOCAL, "deployment/web"), "playbook local-server has no input target", ""),
    "unknown model": ((*LOCAL, "-m", "gpt"), "unknown model 'gpt'", "name it as PROVIDER/ID"),
    "missing key": ((*LOCAL, "-m", "openai/x"), "no key for openai/x: set OPENAI_API_KEY", ""),
    "no script": ((*LOCAL, "-m", "scripted:no.yaml"), "cannot read the script: ", ""),
    "unknown report": ((*LOCAL, "--report", "pdf=x"), "--report takes FORMAT=PATH with", ""),
    "report without path": ((*LOCAL, "--report", "json="), "--report takes FORMAT=PATH", ""),
    "unknown approval": ((*LOCAL, "--approval", "yes"), "'yes' is not one of 'auto'", "--help"),
    "looser approval": ((*CHECKOUT, "--approval", "auto"), "auto is looser than the play", "-y"),
    "no tools folder": ((*LOCAL, "--tools", "./none"), "no such tools folder: none", ""),
    "no kubeconfig": (CHECKOUT, "no kubeconfig found: ~/.kube/config", "set KUBECONFIG"),
    "missing kubeconfig": ((*CHECKOUT, "--kubeconfig", "none"), "no such kubeconfig: none", ""),
    "unknown run": (("runs", "show", "beef"), "no such run: beef", "runs list"),
    "no lab": (("lab", "break", "traffic-surge"), "no lab runs in", "smoldebug lab up"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_a_sentence_and_nothing_is_run(
    mistake: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "bytes.yaml").write_bytes(b"\xff\xfe")
    (here / "later.yaml").write_text(LATER)
    (here / "home").mkdir()
    arguments, sentence, hint = MISTAKES[mistake]
    assert program(list(arguments)) == ExitStatus.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert sentence in err
    said = [line.partition(": ")[2] for line in err.splitlines() if line.startswith("hint: ")]
    assert (hint in said[0]) if hint else said == []
    assert list((here / "home").iterdir()) == []


def test_a_change_without_targets_is_told_with_its_place(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = playbook(here, command(NEVER), tools={"change": {"allow": ["scale"]}})
    assert program(["triage", "-p", path]) == ExitStatus.USAGE
    said = capsys.readouterr().err
    assert said.startswith(f"smoldebug: {path}:13:5 tools.change: needs targets: ")


def test_a_tool_that_is_not_there_is_told_with_where_it_would_come_from(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = playbook(here, command(NEVER), tools={"custom": ["crystal_ball"]})
    assert program(["triage", "-p", path]) == ExitStatus.USAGE
    err = capsys.readouterr().err
    assert "tools.custom names a tool that is not there: crystal_ball" in err
    assert "hint: --tools DIR loads your own" in err


def test_a_report_that_cannot_be_written_is_still_kept(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = playbook(here, command([sys.executable, "-c", ""]))
    assert program(["triage", "-p", path, "--report", "json=no/such/folder"]) == ExitStatus.USAGE
    err = capsys.readouterr().err
    assert "cannot write the report: " in err
    kept = err.rpartition("hint: kept in ")[2].strip()
    assert "mine" in Path(kept).read_text(encoding="utf-8")


def test_debug_shows_where_an_error_comes_from(here: Path) -> None:
    with pytest.raises(UsageError, match="no such playbook"):
        program(["--debug", "triage", "-p", "triage-503"])


# --- mistakes about a cluster ---------------------------------------------------------------


@pytest.fixture
def cluster(here: Path) -> Iterator[str]:
    """The kubeconfig of an API server with namespace shop, Deployment checkout, and a token."""
    with practice(here, deployment("checkout", replicas=1), token="right") as made:
        yield made.kubeconfig


def test_an_unknown_context_names_those_there_are(
    cluster: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*CHECKOUT, "--kubeconfig", cluster, "--context", "prod"]
    assert program(arguments) == ExitStatus.USAGE
    err = capsys.readouterr().err
    assert "smoldebug: unknown context: prod\nhint: contexts of " in err
    assert err.endswith(": lab\n")


def test_what_does_not_exist_is_a_mistake_and_not_a_finding(
    cluster: str, capsys: pytest.CaptureFixture[str]
) -> None:
    there = ("--kubeconfig", cluster)
    assert program(["triage", "-n", "shpo", *there]) == ExitStatus.USAGE
    said = "smoldebug: Namespace/shpo does not exist\nhint: did you mean: shop?\n"
    assert capsys.readouterr().err == said
    assert program(["triage", "deployment/chekout", "-n", "shop", *there]) == ExitStatus.USAGE
    said = "smoldebug: Deployment/shop/chekout does not exist\nhint: did you mean: checkout?\n"
    assert capsys.readouterr().err == said


def test_a_wrong_token_is_told_as_such(cluster: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(cluster)
    config.write_text(config.read_text().replace("/right", "/wrong"))
    assert program([*CHECKOUT, "--kubeconfig", cluster]) == ExitStatus.UNREACHABLE
    said = "smoldebug: the credentials of context lab are expired or wrong\n"
    assert capsys.readouterr().err == said


# --- every exit status ----------------------------------------------------------------------

Case = Callable[[Path], list[str]]
ENDINGS: dict[ExitStatus, Case] = {}


def ends(status: ExitStatus) -> Callable[[Case], Case]:
    """Marks the run that ends with a status: it returns the arguments of one."""

    def keep(case: Case) -> Case:
        ENDINGS[status] = case
        return case

    return keep


@ends(ExitStatus.MET)
def _goal_holds(here: Path) -> list[str]:
    return ["triage", "-p", playbook(here, command([sys.executable, "-c", ""]))]


@ends(ExitStatus.NOT_MET)
def _model_gives_up(here: Path) -> list[str]:
    return ["triage", "-p", playbook(here, command(NEVER)), "-m", script(here)]


@ends(ExitStatus.USAGE)
def _unknown_playbook(here: Path) -> list[str]:
    return ["triage", "-p", "no-such-playbook"]


@ends(ExitStatus.INCONCLUSIVE)
def _metrics_are_down(here: Path) -> list[str]:
    metrics = {"metrics": {"url": f"http://127.0.0.1:{closed_port()}"}}
    path = playbook(here, {"metric": {"query": "up", "at_least": 1}}, tools=metrics)
    return ["triage", "-p", path, "-m", script(here)]


@ends(ExitStatus.UNDONE)
def _change_does_not_help(here: Path) -> list[str]:
    call = {"target": "deployment/checkout", "namespace": "shop", "replicas": 2, "why": "E1"}
    change = {"allow": ["scale"], "targets": ["Deployment/shop/checkout"]}
    path = playbook(
        here,
        command(NEVER),
        goal={"within": "1s"},
        scope={"namespaces": ["shop"]},
        tools={"kubectl": {"read": ["deployments", "hpa"]}, "change": change},
        on_failure="undo",
    )
    config = str(here / "kubeconfig")
    model = script(here, {"calls": [{"scale": call}]})
    return ["triage", "-p", path, "-m", model, "-y", "--kubeconfig", config]


def _restart(here: Path, **more: Any) -> list[str]:
    """A server that is started and answers, and a goal that it does not help."""
    port = closed_port()
    url = f"http://127.0.0.1:{port}/"
    argv = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    path = playbook(
        here,
        command(NEVER),
        goal={"within": "2s"},
        tools={
            "http": {"allow": [f"{url}*"]},
            "process": {"servers": {"web": {"run": argv, "url": url}}},
            "change": {"allow": ["process-restart"], "targets": ["Process/local/web"]},
        },
        allow_without_undo=["process-restart"],
        on_failure="undo",
        **more,
    )
    model = script(here, {"calls": [{"restart_server": {"name": "web", "why": "it is down"}}]})
    return ["triage", "-p", path, "-m", model]


@ends(ExitStatus.UNDO_FAILED)
def _change_has_no_way_back(here: Path) -> list[str]:
    return [*_restart(here), "-y"]


NOTE = {"calls": [{"hypothesis": {"id": "H1", "claim": "the server is down"}}]}


@ends(ExitStatus.LIMIT)
def _one_step_is_too_few(here: Path) -> list[str]:
    path = playbook(here, command(NEVER), limits={"max_steps": 1})
    return ["triage", "-p", path, "-m", script(here, NOTE)]


@ends(ExitStatus.NEEDS_APPROVAL)
def _nobody_to_ask(here: Path) -> list[str]:
    return _restart(here)


@ends(ExitStatus.UNREACHABLE)
def _cluster_is_down(here: Path) -> list[str]:
    config = yaml.safe_load((here / "kubeconfig").read_text(encoding="utf-8"))
    config["clusters"][0]["cluster"]["server"] = f"http://127.0.0.1:{closed_port()}"
    (here / "down").write_text(yaml.safe_dump(config), encoding="utf-8")
    return [*CHECKOUT, "--kubeconfig", str(here / "down")]


@ends(ExitStatus.INTERRUPTED)
def _terminated(here: Path) -> list[str]:
    kill = f"import os; os.kill(os.getppid(), {int(signal.SIGTERM)}); raise SystemExit(1)"
    path = playbook(here, command([sys.executable, "-c", kill]), goal={"within": "10s"})
    return ["triage", "-p", path]


@pytest.mark.parametrize("status", ExitStatus)
def test_every_exit_status_is_what_some_run_ends_with(
    status: ExitStatus, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with practice(here, deployment("checkout", replicas=1)):
        arguments = [*ENDINGS[status](here), "--output", "jsonl"]
        try:
            if status is ExitStatus.INTERRUPTED:  # which is no signal to send to pytest
                done = smoldebug(*arguments, cwd=here, env=os.environ)
                code, out, err = done.code, done.stdout, done.stderr
            else:
                code, (out, err) = program(arguments), capsys.readouterr()
        finally:
            servers.end(here / "home/servers/web.json")
    assert code == status, err
    assert "Traceback" not in err
    events = [from_line(line).event for line in out.splitlines()]
    ended = [event.status for event in events if isinstance(event, RunEnded)]
    before_anything_ran = status in (ExitStatus.USAGE, ExitStatus.UNREACHABLE)
    assert ended == ([] if before_anything_ran else [status])


def test_commands_for_people_name_the_kubeconfig_that_was_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with practice(here, deployment("checkout", replicas=1)):
        *arguments, _ = _change_does_not_help(here)
        program([*arguments, "kubeconfig", "--output", "json"])
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    kubectl = f"kubectl --kubeconfig {here / 'kubeconfig'} --context lab -n shop "
    assert change["command"] == f"{kubectl}scale deployment/checkout --replicas=2"
    begun = read(find("last") / "journal.jsonl")[0].event
    assert isinstance(begun, RunStarted)
    assert begun.kubeconfig == str(here / "kubeconfig")


# --- a process of its own -------------------------------------------------------------------


def test_whoever_reads_may_leave(here: Path) -> None:
    """`smoldebug ... | head`: no traceback, and a run still ends as it ends."""
    path = playbook(here, command(NEVER))
    schema = ["playbooks", "schema"]
    for arguments, status in (
        (schema, ExitStatus.MET),
        (["triage", "-p", path, "-m", script(here), "-o", "plain"], ExitStatus.NOT_MET),
        (["triage", "-p", path, "-m", script(here), "-o", "jsonl"], ExitStatus.INTERRUPTED),
    ):
        reader, writer = os.pipe()
        os.close(reader)
        with Running(*arguments, cwd=here, env=os.environ, stdout=writer) as run:
            os.close(writer)
            assert run.ended() == status, run.stderr
            assert "Traceback" not in run.stderr
            assert "BrokenPipe" not in run.stderr


COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-7]|38|9[0-7])[0-9;]*m")


@pytest.mark.parametrize(
    ("more", "forbidden"),
    [({"TERM": "dumb"}, re.compile("\x1b")), ({"TERM": "xterm", "NO_COLOR": "1"}, COLOUR)],
)
def test_a_terminal_that_wants_no_colour_gets_none(
    more: dict[str, str], forbidden: re.Pattern[str], here: Path
) -> None:
    shown = on_terminal(["check", *_goal_holds(here)[1:]], here, more)
    assert "MET" in shown
    assert not forbidden.search(shown)


def test_a_terminal_gets_colours(here: Path) -> None:
    assert COLOUR.search(on_terminal(["check", *_goal_holds(here)[1:]], here, {"TERM": "xterm"}))


def on_terminal(arguments: list[str], here: Path, more: dict[str, str]) -> str:
    """What a command writes to a terminal as its standard output."""
    terminal, theirs = os.openpty()
    try:
        with Running(*arguments, cwd=here, env={**os.environ, **more}, stdout=theirs) as run:
            assert run.ended() == ExitStatus.MET, run.stderr
        return os.read(terminal, 1 << 16).decode()
    finally:
        os.close(theirs)
        os.close(terminal)


def test_it_is_a_kubectl_plugin_too(here: Path) -> None:
    (script,) = entry_points(group="console_scripts", name="kubectl-smoldebug")
    assert script.load() is main
    plugin = str(Path(sys.executable).with_name("kubectl-smoldebug"))
    done = LocalProcesses().run([plugin, "version"], timeout=30)
    assert (done.code, done.stdout) == (0, f"smoldebug {__version__}\n")
