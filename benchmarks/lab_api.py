"""How many requests per second the lab's API server answers, and how much memory it takes.

Starts the server in a process of its own, fills it, sends requests over keep-alive connections
from this process and prints a small table. Everything it starts ends with it.

    python benchmarks/lab_api.py [--clients 8] [--seconds 3]
"""

import argparse
import http.client
import pathlib
import statistics
import subprocess
import sys
import threading
import time

PODS = 50
SERVER = f"""
import sys
from smoldebug.lab.catalog import resource
from smoldebug.lab.server import serve
from smoldebug.lab.store import Store

store = Store()
store.create(resource("namespaces"), None, {{"metadata": {{"name": "shop"}}}})
probe = {{"httpGet": {{"path": "/healthz", "port": 8080}}, "periodSeconds": 1}}
container = {{
    "name": "web",
    "image": "shop/web:1",
    "ports": [{{"containerPort": 8080}}],
    "env": [{{"name": f"SETTING_{{n}}", "value": str(n)}} for n in range(10)],
    "readinessProbe": probe,
    "livenessProbe": probe,
    "resources": {{"limits": {{"memory": "100Mi", "cpu": "500m"}}}},
}}
for number in range({PODS}):
    meta = {{"name": f"web-{{number}}", "labels": {{"app": "web"}}}}
    status = {{"phase": "Running", "podIP": "127.1.0.2", "containerStatuses": [
        {{"name": "web", "ready": True, "restartCount": 0, "state": {{"running": {{}}}}}}]}}
    pod = {{"metadata": meta, "spec": {{"containers": [container]}}, "status": status}}
    store.create(resource("pods"), "shop", pod)
server = serve(store)
print(server.url, flush=True)
sys.stdin.read()
server.close()
"""
PATHS = {
    "GET one pod": "/api/v1/namespaces/shop/pods/web-7",
    f"list {PODS} pods": "/api/v1/namespaces/shop/pods",
    f"list {PODS} pods by label": "/api/v1/namespaces/shop/pods?labelSelector=app%3Dweb",
}


def resident(pid: int) -> float:
    """MB of memory the process holds (Linux)."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no VmRSS for process {pid}")


def ask(port: int, path: str, until: float, took: list[float]) -> None:
    """Send one request after the other; collect how long each took, in milliseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    while (start := time.perf_counter()) < until:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}")
        took.append((time.perf_counter() - start) * 1000)
    connection.close()


def measure(port: int, path: str, clients: int, seconds: float) -> tuple[float, float, float]:
    """Requests per second, median and 99th percentile in milliseconds."""
    took: list[list[float]] = [[] for _ in range(clients)]
    until = time.perf_counter() + seconds
    threads = [threading.Thread(target=ask, args=(port, path, until, each)) for each in took]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = sorted(value for each in took for value in each)
    return len(every) / seconds, statistics.median(every), every[int(len(every) * 0.99)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=8, help="connections (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="per row (%(default)s)")
    args = parser.parse_args()
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            port = int(server.stdout.readline().rpartition(":")[2])
            print(f"{'request':<26}{'per second':>12}{'median ms':>11}{'p99 ms':>9}")
            for name, path in PATHS.items():
                rate, median, worst = measure(port, path, args.clients, args.seconds)
                print(f"{name:<26}{rate:>12,.0f}{median:>11.2f}{worst:>9.2f}")
            print(f"resident memory of the server: {resident(server.pid):.0f} MB")
        finally:
            server.communicate(timeout=10)


if __name__ == "__main__":
    main()
