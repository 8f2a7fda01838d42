"""catalog: lists what the shop sells. It depends on nobody."""

from smoldebug.lab.shop.service import Answer, Metrics, serve, start_log


def products() -> Answer:
    return 200, "coffee\ntea\ncups\n"


def main() -> None:
    start_log("catalog")
    serve(
        {"/products": products, "/health": lambda: (200, "ok\n")},
        Metrics("http_request_duration_seconds"),
    )


if __name__ == "__main__":
    main()
