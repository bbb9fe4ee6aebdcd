"""The command line of the web server."""

import argparse
import os
import signal
import sys

import config.server


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m config.server", description=config.server.__doc__
    )
    parser.add_argument("--host", default=os.environ.get("HOST") or "127.0.0.1")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 8000))
    parser.add_argument(
        "--door-port",
        type=int,
        default=int(os.environ.get("DOOR_PORT", "8001") or 0),
        help="for programs alone; 0: none",
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that decide")
    parser.add_argument(
        "--page-workers", type=int, default=2, help="processes for all else; 0: the same"
    )
    parser.add_argument("--threads", type=int, default=4, help="of each process")
    parser.add_argument(
        "--stop-seconds", type=float, default=5, help="for requests under way at the end"
    )
    given = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # while Django is imported
    from config.wsgi import application  # before all else: it makes Django ready
    from config.server.master import Plan, serve  # isort: skip

    serve(application, Plan(**vars(given)))


if __name__ == "__main__":
    main()
