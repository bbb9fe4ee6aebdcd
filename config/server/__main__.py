"""The command line of the web server."""

import argparse
import os
import signal
import sys
from collections.abc import Callable

import config.server
from config import environment as forms
from config.environment import take

# option, setting, help
NUMBERS = (
    ("--port", "PORT", None),
    ("--door-port", "DOOR_PORT", "for programs alone; 0: none"),
    ("--workers", "WEB_WORKERS", "processes that decide"),
    ("--page-workers", "PAGE_WORKERS", "processes for all else; 0: the same"),
    ("--threads", "WEB_THREADS", "of each process"),
)


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
    # A wrong setting is refused with the others, by `config.wsgi`.
    parser.add_argument("--host", default=take("HOST", default="127.0.0.1", form=forms.host))
    for option, name, text in NUMBERS:
        _, low, high = forms.SERVER[name]
        form = whole(0 if name == "PAGE_WORKERS" else low, high)
        default = forms.server_number(name)
        parser.add_argument(option, type=form, default=default, help=text)
    if os.environ.get("DOOR_PORT") == "":
        parser.set_defaults(door_port=0)
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
