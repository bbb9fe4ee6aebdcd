"""Judges the first lines of commit messages: that of a file (the hook), or those of a range.

python3 .ci/subjects.py .git/COMMIT_EDITMSG
python3 .ci/subjects.py origin/main..HEAD

Exit code 1 and a line for each that is too long, has no capital or ends in a period.
"""

import subprocess
import sys
from pathlib import Path

LONGEST = 72  # characters: what `git log --oneline` and web pages show whole


def problem(subject: str) -> str | None:
    """What is wrong with one subject; None if nothing is."""
    if len(subject) > LONGEST:
        return f"{len(subject)} characters, {LONGEST} at most"
    if not subject[:1].isupper():
        return "begins without a capital letter"
    if subject.endswith("."):
        return "ends in a period"
    return None


def subjects(source: str) -> list[str]:
    """The subject in a message file, or those of a range of commits, merges apart.

    Raises CalledProcessError where git knows no such range.
    """
    if Path(source).is_file():
        lines = Path(source).read_text().splitlines()
        first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
        return [] if first.startswith(("Merge ", "fixup! ", "squash! ")) else [first]
    argv = ["git", "log", "--no-merges", "--format=%s", source]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def main(source: str) -> int:
    wrong = [(each, why) for each in subjects(source) if (why := problem(each))]
    for subject, why in wrong:
        print(f"{subject}: {why}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
