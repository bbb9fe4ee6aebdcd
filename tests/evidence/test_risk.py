"""Classes, bands and flags: each threshold on both sides of its boundary."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from budgets.evidence import risk

TODAY = date(2026, 3, 14)


@pytest.mark.parametrize(
    ("runs", "name"),
    [
        (1, "low"),
        (100, "low"),
        (101, "medium"),
        (500, "medium"),
        (501, "high"),
        (1000, "high"),
        (1001, "critical"),
    ],
)
def test_class_of_a_run_cap(runs: int, name: str) -> None:
    assert risk.run_cap_class(runs) == name


@pytest.mark.parametrize(
    ("usd", "band"),
    [
        ("0", "safe"),
        ("1.999999999", "safe"),
        ("2.00", "caution"),
        ("10.00", "caution"),
        ("10.000000001", "escalate"),
    ],
)
def test_risk_band(usd: str, band: str) -> None:
    assert risk.risk_band(Decimal(usd)) == band


def use(*dollars: str) -> list[tuple[date, Decimal]]:
    """By day, the last of them today."""
    first = TODAY - timedelta(days=len(dollars) - 1)
    return [(first + timedelta(days=n), Decimal(usd)) for n, usd in enumerate(dollars)]


def flags(**figures: Any) -> list[str]:
    quiet: dict[str, Any] = {
        "bursts": [],
        "unknown_agents": {},
        "ended": 100,
        "errors": 0,
        "average_usd": Decimal("0.01"),
        "max_usd": Decimal("0.02"),
        "use": use("1", "1", "1", "1"),
    }
    return [flag.code for flag in risk.red_flags(**quiet | figures)]


@pytest.mark.parametrize(
    ("figures", "raised"),
    [
        ({}, []),
        ({"average_usd": None, "max_usd": None, "ended": 0, "use": []}, []),
        ({"bursts": [risk.Burst("a", 50, "", "")]}, []),
        ({"bursts": [risk.Burst("a", 51, "", "")]}, ["burst"]),
        ({"unknown_agents": {"b": 1}}, ["unknown_agents"]),
        ({"errors": 50}, []),
        ({"errors": 51}, ["errors"]),
        ({"average_usd": Decimal("0.10")}, []),
        ({"average_usd": Decimal("0.100000001")}, ["expensive_average"]),
        ({"max_usd": Decimal("1.00")}, []),
        ({"max_usd": Decimal("1.000000001")}, ["expensive_run"]),
        ({"use": use("1", "1", "1", "2")}, []),
        ({"use": use("1", "1", "1", "2.01")}, ["spike"]),
        ({"use": use("1", "1", "9")}, []),  # two days are no normal
        ({"use": use("1", "0", "1", "0", "1", "2.01")}, ["spike"]),  # idle days are no normal
        ({"use": use("1", "1", "1", "5", "1", "1", "1", "1", "1", "1", "1")}, []),  # long ago
        ({"use": use("1", "1", "50", "1", "2.01")}, ["spike"]),  # an outlier does not hide it
    ],
)
def test_flags(figures: dict[str, Any], raised: list[str]) -> None:
    assert flags(**figures) == raised


def test_a_spike_tells_its_normal() -> None:
    (spike,) = risk.spikes(use("1", "3", "2", "7"))
    assert (spike.day, spike.usd, spike.normal_usd) == (TODAY, Decimal(7), Decimal(2))
