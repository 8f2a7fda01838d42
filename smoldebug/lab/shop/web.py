"""web: the shop's front page. It depends on nobody."""

from smoldebug.lab.shop.service import Metrics, serve, start_log


def main() -> None:
    start_log("web")
    serve(
        {"/": lambda: (200, "welcome to the shop\n"), "/health": lambda: (200, "ok\n")},
        Metrics("http_request_duration_seconds"),
    )


if __name__ == "__main__":
    main()
