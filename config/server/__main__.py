"""The command line of the web server."""

import argparse
import signal
import sys
from collections.abc import Callable

import config.server
from config import environment as forms
from config.environment import take


def whole(low: int, high: int) -> Callable[[str], int]:
    def form(text: str) -> int:
        try:
            return forms.whole(low, high)(text)
        except forms.Expected as expected:
            raise argparse.ArgumentTypeError(f"must be {expected}, not {text!r}") from None

    return form


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m config.server", description=config.server.__doc__
    )
    # A wrong HOST or PORT is refused with the other settings, by `config.wsgi`.
    parser.add_argument("--host", default=take("HOST", default="127.0.0.1", form=forms.host))
    port = take("PORT", default="8000", form=forms.whole(1, 65_535))
    parser.add_argument("--port", type=whole(1, 65_535), default=port)
    parser.add_argument("--workers", type=whole(1, 64), default=2, help="processes that decide")
    parser.add_argument(
        "--page-workers", type=whole(0, 64), default=2, help="processes for all else; 0: the same"
    )
    parser.add_argument("--threads", type=whole(1, 256), default=4, help="of each process")
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
