"""Text that must stay text, and how to see that it did not."""

import csv
import io
import json
from html.parser import HTMLParser

MARK = "tgpwn"
# Short, because a name has a hundred characters; together they try text, attributes of both
# quotations, addresses, SVG, the ends of raw elements, and templates on either side.
TEXTS = {
    "elements": f"\"'><img src=x onerror={MARK}()><svg/onload={MARK}()><script>{MARK}()</script>",
    "raw": f"</title></textarea></pre></script><iframe srcdoc={MARK}><style>*{{x:{MARK}}}",
    "address": f"javascript:{MARK}()//\" onfocus={MARK}() autofocus x='",
    "template": f'{{{{7*7}}}}{{% debug %}}${{{MARK}}}" x-init="{MARK}()" \' @click=\'{MARK}()',
}
FORMULAS = (
    "=1+1|{mark}", "+1+1{mark}", "-1+1{mark}", "@SUM(1){mark}", "\t=1+1{mark}", "\r=1+1{mark}",
    "\n=1+1{mark}", " =1+1{mark}", "＝1+1{mark}", "=HYPERLINK(\"http://{mark}\",\"x\")",
)  # fmt: skip
STARTS = "=+-@\t\r\n＝＋－＠"
ADDRESSES = ("href", "src", "action", "formaction", "data", "xlink:href", "poster")
EVALUATED = ("on", "x-", ":", "@")  # by the browser, and by Alpine, which the theme is made with


class Injected(HTMLParser):
    """Collects what a page would run of the marked text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.seen = 0  # how often the text is there as text
        self.inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style", "textarea", "title", "iframe"):
            # JSON is data: a browser runs none of it, and its end is found as that of a script.
            data = tag == "script" and ("type", "application/json") in attrs
            self.inside.append("json" if data else tag)
        for name, value in attrs:
            result = value or ""
            if MARK in name or (MARK in result and name.startswith(EVALUATED)):
                self.found.append(f"<{tag} {name}={result[:60]}>")
            scheme = result.strip().lower()
            if name in ADDRESSES and scheme.startswith(("javascript:", "data:text", "vbscript:")):
                self.found.append(f"<{tag} {name}={result[:60]}>")
            if name in ("srcdoc", "style") and MARK in result:
                self.found.append(f"<{tag} {name}={result[:60]}>")
            self.seen += MARK in result

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] in (tag, "json" if tag == "script" else tag):
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if MARK in data:
            self.seen += 1
            if self.inside and self.inside[-1] in ("script", "style", "iframe"):
                self.found.append(f"in <{self.inside[-1]}>: {data[:80]}")


def injected(html: str) -> tuple[list[str], int]:
    """What would run, and how often the marked text is there at all."""
    page = Injected()
    page.feed(html)
    page.close()
    return page.found, page.seen


def formulas(text: str) -> tuple[list[str], int]:
    """Cells of a CSV file that a spreadsheet would run, and how many cells there are."""
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    return [cell for cell in cells if cell.lstrip(" ").startswith(tuple(STARTS))], len(cells)


def lines(text: str) -> int:
    """How many lines of JSON there are; raises ValueError for one that is none."""
    return len([json.loads(line) for line in text.split("\n") if line])
