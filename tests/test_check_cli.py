"""`smoldebug check`, against a real HTTP server and a real clock."""

import http.server
import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from smoldebug.cli.check import EXAMPLES, check
from smoldebug.errors import SmoldebugError
from smoldebug.status import ExitStatus

app = typer.Typer(rich_markup_mode=None)
app.command(epilog=EXAMPLES)(check)


class Server(http.server.ThreadingHTTPServer):
    """Answers with its statuses in order; the last one for ever."""

    statuses: list[int] = [200]
    body = b"all well"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        left = self.server.statuses
        self.send_response(left.pop(0) if len(left) > 1 else left[0])
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def playbook(folder: Path, checks: str, window: str = "", tools: str = "") -> str:
    path = folder / "goal.yaml"
    path.write_text(
        f"apiVersion: smoldebug.dev/v1\nname: mine\n{tools}\n"
        f"goal:\n  description: it works\n  all:\n{checks}\n  every: 50ms\n{window}"
    )
    return str(path)


def http_check(server: Server, more: str = "") -> str:
    return f"    - http: {{url: 'http://127.0.0.1:{server.server_port}/health'{more}}}"


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments), standalone_mode=False)
    if isinstance(result.exception, SmoldebugError):
        raise result.exception
    assert result.exception is None, result.exception
    return result


def test_met(server, tmp_path):
    path = playbook(tmp_path, http_check(server), "  consecutive: 3\n  within: 10s\n")
    result = run("-p", path)
    assert result.return_value == ExitStatus.MET
    heading, row = result.stdout.splitlines()
    assert heading.startswith("MET · ●●● 3/3 · 3 samples in 0.")
    assert heading.endswith("it works")
    assert row.startswith(" ✓  met  http /health = 200  200 in ")
    assert "HOLDS NOW  ●○○ 1/3" in result.stderr


def test_it_waits_until_the_goal_is_met(server, tmp_path):
    server.statuses = [503, 503, 200]
    result = run("-p", playbook(tmp_path, http_check(server), "  within: 10s\n"), "-o", "json")
    document = json.loads(result.stdout)
    assert (document["status"], document["exit_code"], document["samples"]) == ("met", 0, 3)


def test_not_met_within(server, tmp_path):
    server.statuses = [503]
    path = playbook(tmp_path, http_check(server), "  within: 200ms\n")
    result = run("-p", path)
    assert result.return_value == ExitStatus.NOT_MET
    assert " ✗  not met  http /health = 200  503 in " in result.stdout
    assert result.stderr.count("NOT MET") >= 1


def test_no_wait_takes_one_sample_and_judges_it_alone(server, tmp_path):
    path = playbook(tmp_path, http_check(server), "  consecutive: 3\n")
    result = run("-p", path, "--no-wait", "--output", "json")
    assert result.return_value == ExitStatus.MET
    document = json.loads(result.stdout)
    goal = document["goal"]
    assert (goal["outcome"], goal["sample"]) == ("met", "met")
    assert (goal["streak"], goal["needed"], document["samples"]) == (0, 1, 1)
    assert document["schema_version"] == 1
    assert goal["checks"][0] == {
        "check": "http /health = 200",
        "kind": "http",
        "outcome": "met",
        "says": goal["checks"][0]["says"],
        "value": 200,
        "subject": f"http://127.0.0.1:{server.server_port}/health",
        "route": "direct",
        "pending": False,
        "service": "",
    }
    assert result.stderr == ""


def test_a_service_that_is_down_is_not_met(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    checks = f"    - http: {{url: 'http://127.0.0.1:{port}/'}}"
    result = run("-p", playbook(tmp_path, checks), "--no-wait")
    assert result.return_value == ExitStatus.NOT_MET
    assert f"127.0.0.1:{port}: connection refused" in result.stdout


def test_a_row_names_its_service(tmp_path):
    config = tmp_path / "config"
    entry = {"name": "eu", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "eu", "context": {"cluster": "eu", "user": ""}}
    config.write_text(json.dumps({"clusters": [entry], "contexts": [context]}))
    services = "  each_service: {list: [Deployment/shop/auth, Deployment/shop/web]}\n"
    path = playbook(tmp_path, "    - rollout: {}", services)
    result = run("-p", path, "--no-wait", "--kubeconfig", str(config), "--context", "eu")
    rows = result.stdout.splitlines()[1:]
    assert [row.split("  ")[2].strip() for row in rows] == ["auth: rollout", "web: rollout"]


def metrics(port: int) -> str:
    return f"tools:\n  metrics: {{url: 'http://127.0.0.1:{port}'}}"


def test_everything_unreachable(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    checks = "    - metric: {query: up, at_least: 1}"
    result = run("-p", playbook(tmp_path, checks, tools=metrics(port)), "--no-wait")
    assert result.return_value == ExitStatus.UNREACHABLE
    assert " ?  inconclusive  metric up ≥ 1" in result.stdout


def test_inconclusive(server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    checks = http_check(server) + "\n    - metric: {query: up, at_least: 1}"
    result = run("-p", playbook(tmp_path, checks, tools=metrics(port)), "--no-wait")
    assert result.return_value == ExitStatus.INCONCLUSIVE


def test_jsonl_is_one_document_for_each_sample(server, tmp_path):
    server.statuses = [503, 200]
    path = playbook(tmp_path, http_check(server), "  within: 10s\n")
    lines = run("-p", path, "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line)["outcome"] for line in lines] == ["not met", "met"]


def test_rich_shows_what_the_world_says_and_does_nothing_with_it(server, tmp_path):
    server.body = b"[bold]no[/] \x1b]0;owned\x07::error::x"
    path = playbook(tmp_path, http_check(server, ", contains: ok"))
    for output in ("rich", "plain"):
        result = run("-p", path, "--no-wait", "-o", output)
        assert result.return_value == ExitStatus.NOT_MET
        flat = " ".join(result.stdout.split())
        assert "[bold]no[/]" in flat
        assert "\x1b]" not in result.output
        assert "✗" in flat
        assert "not met" in flat


def test_a_predicate_needs_allow_code(tmp_path):
    (tmp_path / "checks.py").write_text("def fine(state): return (True, state['inputs']['x'])")
    path = playbook(tmp_path, "    - python: checks:fine")
    Path(path).write_text(Path(path).read_text() + "inputs: {x: {default: hello}}\n")
    with pytest.raises(SmoldebugError, match="runs the playbook's own code") as refused:
        run("-p", path)
    assert refused.value.status == ExitStatus.USAGE
    result = run("-p", path, "--allow-code", "--set", "x=seen")
    assert result.return_value == ExitStatus.MET
    assert " ✓  met  python checks:fine  seen" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-p", "no-such-playbook"], "no such playbook"),
        (["--set", "nonsense"], "--set takes NAME=VALUE"),
        (["-p", "helm-upgrade", "--set", "version=1"], "no kubeconfig found"),
    ],
)
def test_usage(arguments, says):
    with pytest.raises(SmoldebugError, match=says) as refused:
        run(*arguments)
    assert refused.value.status == ExitStatus.USAGE


def test_help_has_examples():
    result = run("--help")
    assert "smoldebug check -p triage-502 --set service=checkout" in result.stdout
    assert "--no-wait" in result.stdout


def test_measuring_needs_no_model(tmp_path, server):
    """Not even the packages: they would cost half a second, and a key nobody has."""
    from smoldebug.sources.process import LocalProcesses

    path = playbook(tmp_path, http_check(server))
    code = (
        "import sys; from smoldebug.cli.check import check; "
        "from smoldebug.view import OutputFormat; "
        f"status = check(playbook={path!r}, output=OutputFormat.JSON); "
        "print(status, sorted({'smolagents', 'kubernetes', 'rich'} & set(sys.modules)), "
        "file=sys.stderr)"
    )
    done = LocalProcesses().run([sys.executable, "-c", code], timeout=30)
    assert done.stderr.strip().splitlines()[-1:] == ["0 []"]
