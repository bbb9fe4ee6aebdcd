"""The examples, as programs of their own with the real SDKs, against a small model server and the
real service; and what the service then has on record."""

import os
import subprocess
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from config.run.children import BASE_DIR
from tests.telemetry_otlp import stacks
from tests.telemetry_otlp.model_server import model_server
from tests.waiting import HANG_SECONDS

from .harness import Real

CLIENT = BASE_DIR / "client" / "python"
EXAMPLES = CLIENT / "examples"
# As in test_metering, in dollars.
MINI, SONNET = Decimal("0.000225"), Decimal("0.004545")
TOOL = Decimal("0.001")
# 1,000 × 0.15 + 200 × 0.60: without the discount for cached input, which the service gives to
# usage and not to dollars
MINI_UNCACHED = Decimal("0.00027")


@pytest.fixture(scope="module")
def models() -> Iterator[str]:
    with model_server() as url:
        yield url


class Runner:
    def __init__(self, real: Real, models: str, folder: Path) -> None:
        self._env = {
            **os.environ,
            "PYTHONPATH": str(CLIENT),
            "TOLLGATE_URL": real.url,
            "TOLLGATE_TOKEN": real.token,
            "TOLLGATE_AGENT": "digest-1",
            "OPENAI_BASE_URL": f"{models}/v1",
            "OPENAI_API_KEY": "none",
            "ANTHROPIC_BASE_URL": models,
            "ANTHROPIC_API_KEY": "none",
            "XDG_STATE_HOME": str(folder),
        }

    def program(self, text: str, *args: str) -> str:
        return self._ended("-c", text, *args)

    def example(self, name: str, *args: str) -> str:
        return self._ended(str(EXAMPLES / f"{name}.py"), *args)

    def _ended(self, *args: str) -> str:
        ended = subprocess.run(
            [str(stacks.python()), *args],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=HANG_SECONDS,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


@pytest.fixture
def run(real: Real, models: str, tmp_path: Path) -> Runner:
    return Runner(real, models, tmp_path)


def recorded(real: Real, order: str) -> list[tuple[Any, ...]]:
    """Runs and their model calls, newest first."""
    return real.sql(
        "SELECT r.status, r.cost, e.model, e.input_tokens, e.cached_input_tokens, e.output_tokens,"
        " e.cost_usd FROM work_order_runs r LEFT JOIN inference_events e ON e.run_id = r.id"
        " WHERE r.wo_id = %s ORDER BY r.started_at DESC, e.created_at",
        order,
    )


def test_the_first_one(real: Real, run: Runner) -> None:
    assert run.example("first") == "admitted, reserved 0.05\nsettled at 0.031\n"
    assert recorded(real, "weekly-report")[0][:3] == ("success", Decimal("0.031"), None)


def test_a_stream(real: Real, run: Runner) -> None:
    assert run.example("stream") == "Sunny.\n"
    row = ("success", MINI, "gpt-4o-mini", 1000, 600, 200, MINI)
    assert recorded(real, "weekly-report")[0] == row


def test_an_agent_with_a_tool(real: Real, run: Runner) -> None:
    assert run.example("agent") == "Sunny.\n"
    ((status, cost, *_),) = recorded(real, "support")
    assert (status, cost) == ("success", 2 * MINI_UNCACHED + TOOL)


def test_a_batch(real: Real, run: Runner) -> None:
    assert run.example("batch", "40") == "40 labels\n"
    row = ("success", SONNET, "claude-sonnet-4-5", 1000, 600, 200, SONNET)
    assert recorded(real, "labels") == [row] * 40


def test_a_generator(real: Real, run: Runner) -> None:
    lines = [line.split(" ", 1) for line in run.example("pages").splitlines()]
    assert [text for _, text in lines] == ["Sunny."] * 3
    assert len({run_id for run_id, _ in lines}) == 1
    row = ("success", 3 * MINI, "gpt-4o-mini", 3000, 1800, 600, 3 * MINI)
    assert recorded(real, "weekly-report")[0] == row


@pytest.mark.parametrize("name", ["stream", "agent", "batch", "pages"])
def test_lines_of_governance(name: str) -> None:
    """What a program has to say of Tollgate; 35, 55 and 30 lines without metering."""
    text = (EXAMPLES / f"{name}.py").read_text().split('"""', 2)[2]
    lines = [line for line in text.splitlines() if "tollgate" in line.lower()]
    assert len(lines) <= 6, lines


def test_the_readme_has_the_first_one_as_it_is() -> None:
    code = (EXAMPLES / "first.py").read_text().split('"""', 2)[2].strip()
    assert code in (CLIENT / "README.md").read_text()


def test_the_version_is_one() -> None:
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
    text = (CLIENT / "tollgate_client" / "__init__.py").read_text()
    assert f'__version__ = "{project["version"]}"' in text


PROGRAMS = """
import asyncio, logging
from openai import AsyncOpenAI, OpenAI, PermissionDeniedError
from anthropic import AsyncAnthropic, Anthropic
from tollgate_client import *
tollgate = Tollgate()
run = tollgate.run("support", estimated_cost_usd="0.05")
"""
SDKS = {
    "openai retries": (
        """
client = tollgate.meter(OpenAI())
with run:
    client.chat.completions.create(model="fails-once-openai", messages=[
        {"role": "user", "content": "a"}])
""",
        [(500, "user_request"), (200, "retry")],
    ),
    "openai responses": (
        """
client = tollgate.meter(OpenAI())
with run:
    client.responses.create(model="gpt-4o-mini", input="a")
    for event in client.responses.create(model="gpt-4o-mini", input="a", stream=True):
        pass
    assert event.response.usage.output_tokens == 200
""",
        [(200, "user_request")] * 2,
    ),
    "openai async stream": (
        """
client = tollgate.meter(AsyncOpenAI())
async def main():
    stream = await client.chat.completions.create(model="gpt-4o-mini", stream=True, messages=[
        {"role": "user", "content": "a"}])
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
with run:
    assert asyncio.run(main()) == "Sunny."
""",
        [(200, "user_request")],
    ),
    "openai with options": (
        """
client = tollgate.meter(OpenAI(timeout=30)).with_options(max_retries=0)
assert client.timeout == 30
with run:
    client.embeddings.create(model="text-embedding-3-small", input="a")
""",
        [(200, "user_request")],
    ),
    "a copy that is gone": (
        """
import gc
original = OpenAI()
with run:
    for _ in range(2):
        tollgate.meter(original).embeddings.create(model="text-embedding-3-small", input="a")
        gc.collect()
        original.embeddings.create(model="text-embedding-3-small", input="a")
""",
        [(200, "user_request")] * 2,
    ),
    "anthropic retries": (
        """
client = tollgate.meter(Anthropic())
with run:
    client.messages.create(model="fails-once-anthropic", max_tokens=9, messages=[
        {"role": "user", "content": "a"}])
""",
        [(500, "user_request"), (200, "retry")],
    ),
    "anthropic stream": (
        """
client = tollgate.meter(Anthropic())
with run, client.messages.stream(model="claude-sonnet-4-5", max_tokens=9, messages=[
        {"role": "user", "content": "a"}]) as stream:
    assert "".join(stream.text_stream) == "Sunny."
""",
        [(200, "user_request")],
    ),
    "anthropic async": (
        """
client = tollgate.meter(AsyncAnthropic())
async def main():
    await client.messages.create(model="claude-sonnet-4-5", max_tokens=9, messages=[
        {"role": "user", "content": "a"}])
with run:
    asyncio.run(main())
""",
        [(200, "user_request")],
    ),
}
SAY = """
for call in run.calls:
    assert call.usage is None or call.usage.input_tokens == 1000, call
print([(call.status, call.trigger) for call in run.calls])
"""


@pytest.mark.parametrize("name", SDKS)
def test_sdks(run: Runner, name: str) -> None:
    text, calls = SDKS[name]
    assert run.program(PROGRAMS + text + SAY).strip() == str(calls)


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_a_stop_is_not_retried_by_an_sdk(run: Runner, sdk: str) -> None:
    """It used to become a connection error, after retries."""
    call = {
        "openai": 'OpenAI(max_retries=5)).chat.completions.create(model="gpt-4o-mini"',
        "anthropic": 'Anthropic(max_retries=5)).messages.create(model="m", max_tokens=9',
    }[sdk]
    text = f"""
try:
    with run:
        run.stop("kill_switch", "stopped by an operator")
        tollgate.meter({call}, messages=[{{"role": "user", "content": "a"}}])
except StopRun as stop:
    assert type(stop.__cause__).__name__ == "PermissionDeniedError", stop.__cause__
    print(stop.reason, len(run.calls))
"""
    assert run.program(PROGRAMS + text).strip() == "kill_switch 0"
