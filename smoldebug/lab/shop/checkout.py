"""checkout: takes orders; every one, and every /health, asks auth first."""

import http.client
from urllib.parse import urlsplit

from smoldebug.lab.shop.service import Answer, Metrics, log, serve, setting, start_log

TIMEOUT = 1.0  # seconds auth gets to answer


class Upstream:
    """Another service of the shop, asked over HTTP."""

    def __init__(self, name: str, url: str) -> None:
        self.name, parts = name, urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80

    def ask(self, path: str) -> str:
        """Why it did not answer 200, or ""."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return "" if answer.status == 200 else f"answered {answer.status} {answer.reason}"
        except TimeoutError:
            return f"timed out after {TIMEOUT:.1f}s"
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__
        finally:
            connection.close()


def main() -> None:
    start_log("checkout")
    auth = Upstream("auth", setting("AUTH_URL"))

    def answer(page: str, good: str) -> Answer:
        problem = auth.ask("/verify")
        if problem:
            log.error("GET %s 502 upstream %s: %s", page, auth.name, problem)
            return 502, f"bad gateway: upstream {auth.name}: {problem}\n"
        return 200, good

    routes = {
        "/checkout": lambda: answer("/checkout", "order placed\n"),
        "/health": lambda: answer("/health", "ok\n"),
    }
    serve(routes, Metrics("http_request_duration_seconds"))


if __name__ == "__main__":
    main()
