"""What a stranger reads and runs first is true: the workflow, the hooks, the templates, the owners,
the changelog's fragments and the release."""

import json
import re
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.run.children import BASE_DIR

GITHUB = BASE_DIR / ".github"
PROJECT = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=BASE_DIR, capture_output=True, text=True, check=True
).stdout.split()
# A program of the repository in a command: a script, a rule of make, a program of the environment.
SCRIPT = re.compile(r"(?<![\w/])(\.ci/[\w.]+)")
MAKE = re.compile(r"\bmake ([a-z.][a-z/-]*)")
PROGRAM = re.compile(r"\.venv/bin/([\w-]+)")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def targets() -> set[str]:
    text = (BASE_DIR / "Makefile").read_text()
    return set(re.findall(r"^([a-z./-]+):", text, re.MULTILINE))


def locked() -> set[str]:
    text = (BASE_DIR / "requirements-dev.txt").read_text()
    return set(re.findall(r"^([a-z0-9-]+)(?:\[[^]]*\])?==", text, re.MULTILINE))


def missing(command: str) -> list[str]:
    """What a command names and the repository does not have."""
    # lint-imports is import-linter's, python every environment's.
    programs = {each.replace("lint-imports", "import-linter") for each in PROGRAM.findall(command)}
    return [
        *(each for each in SCRIPT.findall(command) if each not in TRACKED),
        *(each for each in MAKE.findall(command) if each not in targets()),
        *(programs - {"python"} - locked()),
    ]


WORKFLOW = read(GITHUB / "workflows/ci.yml")
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
HOOKS = read(BASE_DIR / ".pre-commit-config.yaml")["repos"]
CONTAINER = json.loads((BASE_DIR / ".devcontainer/devcontainer.json").read_text())
COMMANDS = [
    *(step["run"] for step in STEPS if "run" in step),
    *(hook["entry"] for repo in HOOKS for hook in repo["hooks"]),
    CONTAINER["postCreateCommand"],
]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_names_is_there(command: str) -> None:
    assert missing(command) == []


@pytest.mark.parametrize("command", ["bash .ci/gone", "make gone", ".venv/bin/gone --all"])
def test_what_is_gone_is_seen(command: str) -> None:
    assert missing(command) != []


def test_the_workflow_runs_every_supported_version() -> None:
    of = {name: job.get("strategy", {}).get("matrix", {}) for name, job in WORKFLOW["jobs"].items()}
    assert of["test"]["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert of["postgresql"]["postgresql"] == [15, 16, 17, 18]
    assert f">={of['test']['python'][0]}" == PROJECT["project"]["requires-python"]
    assert {"bash .ci/run", "make coverage"} <= {step.get("run") for step in STEPS}


def test_actions_are_pinned_to_commits() -> None:
    text = (GITHUB / "workflows/ci.yml").read_text()
    used = re.findall(r"uses: (.+)", text)
    assert len(used) > 5
    assert [
        each for each in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", each)
    ] == []


def test_jobs_have_limits_and_no_rights_to_write() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert [name for name, job in WORKFLOW["jobs"].items() if "timeout-minutes" not in job] == []


def test_hooks_are_those_of_the_lock() -> None:
    assert {repo["repo"] for repo in HOOKS} == {"local"}
    assert {hook["language"] for repo in HOOKS for hook in repo["hooks"]} == {"system"}


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_issue_forms_ask_for_what_is_needed(name: str) -> None:
    form = read(GITHUB / f"ISSUE_TEMPLATE/{name}.yml")
    assert form["name"]
    assert form["description"]
    fields = {each["id"]: each for each in form["body"] if each["type"] != "markdown"}
    needed = {
        "bug": {"happened", "admitted", "expected", "tollgate", "versions"},
        "feature": {"problem", "proposal", "money"},
    }
    asked = {key for key, each in fields.items() if each.get("validations", {}).get("required")}
    assert asked == needed[name]


def test_the_pull_request_template_has_the_six_questions() -> None:
    questions = re.findall(
        r"^- \[ \] (.+\?)$", (GITHUB / "pull_request_template.md").read_text(), re.MULTILINE
    )
    of = ("limit", "stop", "bound", "default", "without spending", "before the money")
    assert [word for word, asked in zip(of, questions, strict=True) if word not in asked] == []


def test_what_has_owners_is_there() -> None:
    lines = (GITHUB / "CODEOWNERS").read_text().splitlines()
    owned = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    assert owned[0][0] == "*"
    assert [path for path, *owners in owned if not owners] == []
    paths = [path.strip("/") for path, *_ in owned[1:]]
    assert [
        path for path in paths if not any(f"{each}/".startswith(f"{path}/") for each in TRACKED)
    ] == []


def test_what_dependabot_looks_at_is_there() -> None:
    updates = read(GITHUB / "dependabot.yml")["updates"]
    manifest = {
        "pip": "requirements.txt",
        "npm": "package-lock.json",
        "github-actions": ".github/workflows/ci.yml",
    }
    assert {each["package-ecosystem"] for each in updates} == set(manifest)
    for each in updates:
        path = f"{each['directory'].strip('/')}/{manifest[each['package-ecosystem']]}"
        assert path.strip("/") in TRACKED


def test_the_editor_and_the_formatter_agree() -> None:
    text = (BASE_DIR / ".editorconfig").read_text()
    editor = ConfigParser()
    editor.read_string(f"[top]\n{text}")
    assert editor["*.py"]["max_line_length"] == str(PROJECT["tool"]["ruff"]["line-length"])


def test_fragments_are_of_the_kinds_that_are_collected() -> None:
    towncrier = PROJECT["tool"]["towncrier"]
    kinds = "|".join(each["directory"] for each in towncrier["type"])
    fragments = [file.name for file in (BASE_DIR / towncrier["directory"]).iterdir()]
    fragments.remove("README.md")
    assert [each for each in fragments if not re.fullmatch(rf".+\.({kinds})\.md", each)] == []
    assert towncrier["start_string"] in (BASE_DIR / towncrier["filename"]).read_text()


def judge(*argv: str | Path, cwd: Path = BASE_DIR) -> "subprocess.CompletedProcess[str]":
    script = [sys.executable, str(BASE_DIR / ".ci/subjects.py")]
    return subprocess.run([*script, *argv], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("subject", "wrong"),
    [
        ("A" * 72, ""),
        ("Ä" * 72, ""),
        ("A" * 73, "73 characters, 72 at most"),
        ("add a limit", "begins without a capital letter"),
        ("Add a limit.", "ends in a period"),
        ("", "begins without a capital letter"),
        ("Merge branch 'main' into a-branch-whose-name-is-longer-than-anybody-would-like-it", ""),
    ],
)
def test_subjects_of_commits_are_judged(subject: str, wrong: str, tmp_path: Path) -> None:
    message = tmp_path / "message"
    message.write_text(f"\n# a comment\n{subject}\n\nWhy, in as many words as it takes{'.' * 72}\n")
    if not subject:
        message.write_text("# nothing\n")
    done = judge(message)
    assert (done.returncode, wrong in done.stdout) == (1 if wrong else 0, True)


def repository(folder: Path, *subjects: str) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder)]
    subprocess.run(["git", "init", "-q", "-b", "main", folder], check=True)
    for subject in subjects:
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", subject], check=True)


def test_subjects_of_a_range_are_judged(tmp_path: Path) -> None:
    repository(tmp_path, "B" * 80, "Add a limit", "C" * 73)
    assert judge("HEAD~2..HEAD~1", cwd=tmp_path).returncode == 0
    done = judge("HEAD~2..HEAD", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == f"{'C' * 73}: 73 characters, 72 at most\n"


def released(folder: Path) -> "subprocess.CompletedProcess[str]":
    """What `make release` says in a repository with the files that it looks at first."""
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to(sys.executable)
    return subprocess.run(
        ["sh", folder / ".ci/release"], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("new", "x", "the work tree has changes"),
        ("config/settings.py", 'TOLLGATE_RELEASE = "9"', "another version than pyproject.toml"),
        ("changelog.d/1.fixed.md", "x", "1.fixed.md is not in CHANGELOG.md"),
        ("CHANGELOG.md", "## Unreleased", "CHANGELOG.md has no section"),
    ],
)
def test_a_release_is_refused(file: str, text: str, message: str, tmp_path: Path) -> None:
    version = PROJECT["project"]["version"]
    files = {
        ".ci/release": (BASE_DIR / ".ci/release").read_text(),
        ".gitignore": ".venv/\n",
        "pyproject.toml": (BASE_DIR / "pyproject.toml").read_text(),
        "config/settings.py": f'TOLLGATE_RELEASE = "{version}"\n',
        "changelog.d/README.md": "Fragments\n",
        "CHANGELOG.md": f"## {version}\n",
    }
    if file != "new":
        files[file] = text
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    repository(tmp_path)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(tmp_path)]
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "Begin"], check=True)
    if file == "new":
        (tmp_path / file).write_text(text)
    done = released(tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert subprocess.check_output([*git, "tag"]) == b""
