"""What a page shows: its figures by name, and the money and shares in it that have none."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from html.parser import HTMLParser

VOID = frozenset(
    (
        *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta"),
        *("source", "track", "wbr"),
    )
)
# A drawing has its numbers in the table below it; scripts and form fields show no figures.
UNREAD = frozenset(["svg", "script", "style", "textarea", "option", "template", "head"])
# The words of a record (an event, an alert, a reason, a decision), not a figure of the page.
RECORDED = frozenset(
    ("tg-quote", "tg-feed", "tg-lead", "tg-marks", "tg-banner", "tg-json", "tg-note")
)
FIGURE = re.compile(r"[-−+]?\$\d|\d(?:[.,]\d+)?\s?%")


@dataclass
class Page:
    """`figures`: the values of each name by whose they are, that is all `data-of` around it."""

    figures: dict[str, dict[str, list[Decimal | None]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    texts: dict[str, dict[str, list[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    unnamed: list[str] = field(default_factory=list)

    def of(self, name: str) -> dict[str, Decimal | None]:
        """One value for each that it is of. Twice on a page, it is the same twice."""
        found = {}
        for of, values in self.figures[name].items():
            assert len(set(values)) == 1, (name, of, values)
            found[of] = values[0]
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self.open: list[tuple[str, str | None, bool]] = []  # tag, of, unread
        self.figure: tuple[str, str] | None = None
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            return
        result = dict(attrs)
        classes = set((result.get("class") or "").split())
        recorded = "data-recorded" in result or bool(classes & RECORDED)
        unread = tag in UNREAD or recorded or (bool(self.open) and self.open[-1][2])
        self.open.append((tag, result.get("data-of"), unread))
        if name := result.get("data-figure"):
            of = " ".join(each for _, each, _ in self.open if each is not None)
            value = result.get("value")
            self.page.figures[name][of].append(Decimal(value) if value else None)
            self.figure, self.text = (name, of), ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "data" and self.figure:
            name, of = self.figure
            self.page.texts[name][of].append(self.text)
            self.figure = None
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.figure:
            self.text += data
        elif FIGURE.search(data) and not (self.open and self.open[-1][2]):
            around = " > ".join(tag for tag, _, _ in self.open[-4:])
            self.page.unnamed.append(f"{around}: {' '.join(data.split())}")


def read(html: str) -> Page:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.page
