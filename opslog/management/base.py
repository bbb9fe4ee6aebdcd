"""What all commands of this product have: an example, exit codes, and one way to ask back."""

import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import IO, Any, cast

from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    DjangoHelpFormatter,
)
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EXITS = {0: "done", 1: "refused; the reason is on stderr", 2: "wrong arguments"}


class Formatter(DjangoHelpFormatter):
    """Examples keep their lines; prose is wrapped."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class Documented(BaseCommand):
    """A command with an example and exit codes in its `--help` and in docs/reference/commands.md.

    `examples`: lines as they are typed. `exits`: what differs from EXITS. `notes`: what follows.
    """

    examples: tuple[str, ...] = ()
    refusals: tuple[type[Exception], ...] = ()  # whose text is shown to the person
    exits: Mapping[int, str] = {}
    notes: str = ""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except self.refusals as error:
            raise CommandError(str(error)) from None

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name,
            subcommand,
            **{"epilog": self.epilog(), "formatter_class": Formatter, **kwargs},
        )

    def epilog(self) -> str:
        lines = ["example:" if len(self.examples) == 1 else "examples:"]
        lines += [f"  {line}" for line in self.examples]
        lines += ["", "exit codes:"]
        lines += [f"  {code}  {text}" for code, text in self.exit_codes().items()]
        return "\n".join([*lines, self.notes]).rstrip()

    def exit_codes(self) -> dict[int, str]:
        return dict(sorted({**EXITS, **self.exits}.items()))

    def console(self) -> Console:
        """For tables. Into a file or a pipe nothing is cut."""
        console = Console(file=cast("IO[str]", self.stdout._out), markup=False)
        if not console.is_terminal:
            console.width = 200
        return console

    def confirm(self, question: str, *, otherwise: str) -> None:
        """Asks the person at the terminal. Raises CommandError, which begins with `otherwise`,
        where they do not say yes, and where nobody is there to ask: a script uses --yes."""
        if sys.stdin is None or not sys.stdin.isatty():
            raise CommandError(f"{otherwise} There is no terminal to ask at: confirm with --yes.")
        try:
            answer = input(f"{question} [y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            raise CommandError(otherwise)


def progress(console: Console, **options: Any) -> Progress:
    """A bar that says how many of how many."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        **options,
    )


def add_yes(parser: ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask (for scripts)")
