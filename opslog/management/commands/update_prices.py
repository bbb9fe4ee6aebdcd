"""manage.py update_prices: the prices of the installed genai-prices against the price book."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from opslog.management.base import Documented
from opslog.price_book.imported import assert_no_updates, bundled, release
from opslog.price_book.prices import import_prices, preview
from opslog.pricing import Price
from opslog.pricing.plan import Plan, plain

LINES = 40


class Command(Documented):
    examples = (
        "manage.py update_prices",
        'manage.py update_prices --apply --reason "monthly"',
    )
    help = (
        "Compares the prices bundled with the installed genai-prices with the price book and "
        "prints what would change; --apply writes it. Own prices are never touched, and nothing "
        "is fetched: newer prices come with a newer release of the package."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--apply", action="store_true", help="write the changes")
        parser.add_argument("--reason", default="", help="why; goes on record (with --apply)")
        parser.add_argument("--by", default="update_prices", help="who; goes on record")
        parser.add_argument("--all", action="store_true", help="print every line, not only 40")

    def handle(self, *args: Any, **options: Any) -> None:
        reason: str = options["reason"].strip()
        if options["apply"] and not reason:
            raise CommandError("--apply needs --reason: it goes on record.")
        assert_no_updates()
        wanted, origin = bundled(), release()
        if options["apply"]:
            change = import_prices(
                wanted,
                origin=origin,
                reason=reason,
                by=options["by"],
            )
        else:
            change = preview(wanted)
        lines = report(change)
        shown = len(lines) if options["all"] else LINES
        for line in lines[:shown]:
            self.stdout.write(line)
        if len(lines) > shown:
            self.stdout.write(f"… and {len(lines) - shown} more lines (--all)")
        self.stdout.write(
            f"{origin}: {len(change.added)} rows added, {len(change.changed)} models changed, "
            f"{len(change.withdrawn)} announced prices withdrawn, "
            f"{len(change.gone)} models no longer listed (their prices stay)."
        )
        if not change:
            self.stdout.write("Nothing to write.")
        elif options["apply"]:
            self.stdout.write(self.style.SUCCESS("Written."))
        else:
            self.stdout.write('Nothing was written: --apply --reason "…" does.')


def report(change: Plan) -> list[str]:
    """One line per change, the changed prices first: they are what a person looks for."""
    return [
        *(
            f"changed   {name(each.new)}: "
            + ", ".join(
                f"{label(column)} {plain(old)} -> {plain(new)}" for column, old, new in differences
            )
            for each in change.changed
            if (differences := each.differences())
        ),
        *(
            f"withdrawn {name(price)} from {price.effective_from:%Y-%m-%d}"
            for price in change.withdrawn
        ),
        *(f"gone      {provider}/{model}" for provider, model in change.gone),
        *(
            f"added     {name(price)} from {price.effective_from:%Y-%m-%d}: "
            f"input {plain(price.input_per_mtok)}, output {plain(price.output_per_mtok)} $/M tokens"
            for price in change.added
        ),
    ]


def name(price: Price) -> str:
    return f"{price.provider}/{price.model}"


def label(column: str) -> str:
    return column.removesuffix("_per_mtok").replace("_", " ")
