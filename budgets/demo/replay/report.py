"""The table at the end of a replay."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from budgets.demo.replay.audit import Exceeded, Sums
from budgets.demo.replay.tally import Tally
from opslog.pricing.money import usd_text


def print_report(
    console: Console,
    tally: Tally,
    found: Sequence[Exceeded],
    sums: Sums | None,
    *,
    seconds: float,
    behind: float,
    audited: str,
) -> None:
    """`audited` says where the recorded runs were read that `found` was judged from; `sums` is None
    where the counters cannot be read."""
    table = Table(title="Replay", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("asked", f"{tally.asked:,}")
    table.add_row("admitted", f"{tally.admitted:,}")
    for denial, count in sorted(tally.refused.items()):
        table.add_row(f"refused: {denial}", f"{count:,}")
    for trouble, count in sorted(tally.failed.items()):
        table.add_row(f"no decision: {trouble}", f"{count:,}")
    table.add_section()
    table.add_row("reserved", f"${usd_text(tally.reserved_usd)}")
    table.add_row("settled", f"${usd_text(tally.settled_usd)}")
    table.add_row("above its reservation", f"${usd_text(tally.overrun_usd)}")
    if tally.unsettled:
        table.add_row("runs left to their lease", f"{tally.unsettled:,}")
    table.add_section()
    table.add_row("over the caps", f"{len(found):,}" if found else "none")
    if sums is not None:
        table.add_row("sum of the runs", f"${sums.runs:.9f}")
        table.add_row("sum of the counters", f"${sums.work_orders:.9f}")
    console.print(table)
    if sums is not None and not sums.agree:
        console.print(f"OFF: the counters do not add up to the runs: {sums}", style="bold red")
    for each in found:
        console.print(
            f"OVER: {each.subject} on {each.day}: {each.measure} {each.used} > {each.limit}",
            style="bold red",
            markup=False,
        )
    pace = f"{tally.asked / seconds:.1f} asks/s" if seconds > 0 else ""
    late = f", at most {behind:.1f} s behind the trace" if behind > 1 else ""
    console.print(f"{seconds:.1f} s, {pace}{late}. Caps checked against {audited}.", markup=False)
