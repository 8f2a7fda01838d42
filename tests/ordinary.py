"""Ordinary log lines, as many as wanted: what a redactor must leave as it is, and be fast on."""

import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

WORDS = [
    "checkout",
    "auth",
    "orders",
    "cart",
    "payment",
    "search",
    "gateway",
    "worker",
    "ingress",
    "scheduler",
]
VERBS = [
    "started",
    "stopped",
    "retried",
    "timed_out",
    "accepted",
    "refused",
    "flushed",
    "drained",
    "synced",
    "evicted",
]


def lines(count: int, seed: int = 0) -> list[str]:
    """`count` lines of every format in turn, none of which holds a secret or personal data."""
    made = _Maker(random.Random(seed))
    formats = [getattr(made, name) for name in sorted(dir(made)) if name.startswith("line_")]
    return [formats[number % len(formats)]() for number in range(count)]


class _Maker:
    def __init__(self, pick: random.Random) -> None:
        self.pick = pick

    def number(self, digits: int) -> int:
        return self.pick.randrange(10 ** (digits - 1), 10**digits)

    def name(self) -> str:
        return self.pick.choice(WORDS)

    def did(self) -> str:
        return self.pick.choice(VERBS)

    def hexes(self, length: int) -> str:
        return f"{self.pick.getrandbits(4 * length):0{length}x}"

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.pick.getrandbits(128), version=4))

    def pod(self) -> str:
        tail = "".join(self.pick.choices("bcdfghjklmnpqrstvwxz2456789", k=5))
        return f"{self.name()}-{self.hexes(9)}-{tail}"

    def ip(self) -> str:
        return ".".join(str(self.pick.randrange(1, 255)) for _ in range(4))

    def at(self) -> datetime:
        return datetime.fromtimestamp(self.pick.uniform(1.6e9, 1.9e9), UTC)

    def epoch(self, digits: int) -> int:
        return int(self.pick.uniform(1.6e9, 1.9e9) * 10 ** (digits - 10))

    def line_access(self) -> str:
        when = self.at().strftime("%d/%b/%Y:%H:%M:%S +0000")
        return (
            f'{self.ip()} - - [{when}] "GET /api/{self.name()}/{self.number(8)}?page=3 HTTP/1.1" '
            f'{self.pick.choice([200, 404, 502])} {self.number(self.pick.randrange(2, 12))} "-" '
            f'"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0.6099.129"'
        )

    def line_logfmt(self) -> str:
        return (
            f"ts={self.at().isoformat()} level=info caller={self.name()}.go:{self.number(3)} "
            f"trace_id={self.hexes(32)} span_id={self.hexes(16)} took={self.number(3)}ms "
            f"offset={self.number(12)} partition=7 seq={self.number(self.pick.randrange(8, 20))}"
        )

    def line_json(self) -> str:
        return (
            f'{{"ts":{self.epoch(13)},"level":"warn","request_id":"{self.uuid()}",'
            f'"dd.trace_id":"{self.number(19)}","pod":"{self.pod()}","msg":"{self.name()} '
            f'{self.did()}","bytes":{self.number(self.pick.randrange(5, 17))},"nanos":'
            f'{self.epoch(19)},"peer":"{self.ip()}:{self.number(5)}"}}'
        )

    def line_klog(self) -> str:
        return (
            f"E{self.at().strftime('%m%d %H:%M:%S.%f')} {self.number(7)} reflector.go:147] "
            f'"{self.did()}" pod="shop/{self.pod()}" err="rpc error: code = Unavailable desc = '
            f'connection error: dial tcp {self.ip()}:{self.number(4)}: connect: refused"'
        )

    def line_event(self) -> str:
        return (
            f"Back-off restarting failed container {self.name()} in pod "
            f"{self.pod()}_shop({self.uuid()}) image {self.name()}@sha256:{self.hexes(64)}"
        )

    def line_java(self) -> str:
        return (
            f"{self.at().strftime('%Y-%m-%d %H:%M:%S,%f')[:-3]} [http-nio-8080-exec-"
            f"{self.number(2)}] ERROR c.e.s.{self.name().title()}Service@{self.hexes(8)} - "
            f"{self.did()} after {self.number(5)} ms, id {self.number(16)}"
        )

    def line_trace(self) -> str:
        return (
            f"\tat com.example.{self.name()}.Pool.borrow(Pool.java:{self.number(3)}) "
            f"~[app.jar!/:1.{self.number(2)}.{self.number(1)}] +0x{self.hexes(8)}"
        )

    def line_table(self) -> str:
        columns = " ".join(str(self.number(self.pick.randrange(3, 8))) for _ in range(10))
        return f"cpu{self.number(1)} {columns}"

    def line_sql(self) -> str:
        return (
            f"{self.at().isoformat(' ')} [{self.number(5)}] LOG: duration: {self.number(4)}.123 ms "
            f"statement: SELECT id, total FROM orders WHERE id = {self.number(10)} AND "
            f"created > '{self.at().date()}' LIMIT 100"
        )

    def line_syslog(self) -> str:
        return (
            f"{self.at().strftime('%b %d %H:%M:%S')} node-{self.number(3)} systemd[1]: "
            f"user@{self.number(4)}.service: {self.did()}; kernel "
            f"[{self.number(6)}.{self.number(6)}] memory: usage {self.number(7)}kB, limit "
            f"{self.number(7)}kB, failcnt {self.number(5)}"
        )

    def line_metric(self) -> str:
        return (
            f'http_requests_total{{job="{self.name()}",instance="{self.ip()}:8080",le="+Inf"}} '
            f"{self.number(9)} {self.epoch(13)} delta +{self.number(self.pick.randrange(3, 13))}"
        )

    def line_words(self) -> str:
        return (
            f"{self.name()}: {self.did()} leader election lease kube-system/{self.name()}, "
            f"retry {self.number(1)} of 9 in {self.number(3)}ms, queue {self.number(2)}-"
            f"{self.number(3)}-{self.number(4)}, build {self.number(8)}.{self.number(6)}"
        )


def text(count: int, seed: int = 0) -> Iterator[str]:
    """The same, as pieces of log of fifty lines each."""
    made = lines(count, seed)
    return ("\n".join(made[at : at + 50]) for at in range(0, count, 50))
