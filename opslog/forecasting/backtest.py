"""Every way of guessing, played against the past as it could have been known then.

The error that is shown is that of the *choice*, not of the way that looks best afterwards: at each
moment of the past the way with the least error up to then is taken, and its miss is counted. So a
way that fits by luck does not make the figure better than the future will.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil
from typing import Final

from opslog.forecasting.methods import WAYS, ZERO, Hours, Way

NINE_IN_TEN: Final = Decimal("0.9")
FEWEST: Final = 3  # trials before an error is shown


@dataclass(frozen=True, slots=True)
class Trial:
    """A moment of the past: guess the sum of hours [at, at + ahead), knowing those before `at`.

    `spent` is what counts besides and was known then (the day's spend so far), for the sum that
    the error is taken of.
    """

    at: int
    ahead: int
    spent: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Score:
    """How far one way was off. WAPE: sum of misses over sum of what was; MAPE: average of each
    miss over what was (trials with nothing spent left out); `reach`: nine in ten guesses of the
    hours to come were off by at most this share of themselves. None: fewer than FEWEST trials."""

    name: str
    naive: bool
    trials: int
    wape: Decimal | None
    mape: Decimal | None
    reach: Decimal | None


@dataclass(frozen=True, slots=True)
class Backtest:
    """`best` has the least error in all trials and is what guesses now; `chosen` is the error of
    having chosen by the past each time. `scores` in the order of WAYS, those without history left
    out."""

    best: Way
    chosen: Score
    scores: tuple[Score, ...]

    @property
    def naive(self) -> Score | None:
        """The best of the naive ways, chosen afterwards: harder to beat than any one of them."""
        scored = [score for score in self.scores if score.naive and score.wape is not None]
        return min(scored, key=lambda score: score.wape or ZERO, default=None)


def backtest(hours: Hours, trials: Sequence[Trial], ways: Iterable[Way] = WAYS) -> Backtest | None:
    """None where no way has the history that it needs. Trials oldest first.

    Ways are compared over the same trials: those that every way in the running could do. One that
    could not do the trials of the newer half is not in the running.
    """
    half = trials[len(trials) // 2].at if trials else len(hours)
    able = [way for way in ways if way.needs <= half]
    if not able:
        return None
    tried = [trial for trial in trials if trial.at >= max(way.needs for way in able)]
    truths = [trial.spent + sum(hours[trial.at : trial.at + trial.ahead], ZERO) for trial in tried]
    guesses = {
        way.name: [trial.spent + sum(way(hours[: trial.at], trial.ahead), ZERO) for trial in tried]
        for way in able
    }
    missed = {way.name: ZERO for way in able}
    chosen = []
    ended: list[tuple[int, int]] = []  # trials whose end is not known yet at the moment of choice
    for number, trial in enumerate(tried):
        while ended and ended[0][0] <= trial.at:
            _, known = ended.pop(0)
            for name, guessed in guesses.items():
                missed[name] += abs(guessed[known] - truths[known])
        favourite = min(able, key=lambda way: missed[way.name])
        chosen.append(guesses[favourite.name][number])
        ended.append((trial.at + trial.ahead, number))
        ended.sort()
    scores = tuple(_score(way.name, way.naive, guesses[way.name], truths, tried) for way in able)
    by_name = {score.name: score for score in scores}
    best = min(able, key=lambda way: by_name[way.name].wape or ZERO)
    return Backtest(best, _score("chosen by the past", False, chosen, truths, tried), scores)


def _score(
    name: str,
    naive: bool,
    guessed: Sequence[Decimal],
    truths: Sequence[Decimal],
    trials: Sequence[Trial],
) -> Score:
    pairs = list(zip(guessed, truths, strict=True))
    whole = sum(truths, ZERO)
    enough = len(pairs) >= FEWEST
    missed = sum((abs(guess - truth) for guess, truth in pairs), ZERO)
    ratios = [abs(guess - truth) / truth for guess, truth in pairs if truth]
    shares = sorted(
        abs(guess - truth) / (guess - trial.spent)
        for (guess, truth), trial in zip(pairs, trials, strict=True)
        if guess > trial.spent
    )
    return Score(
        name,
        naive,
        len(pairs),
        missed / whole if enough and whole else None,
        sum(ratios, ZERO) / len(ratios) if enough and ratios else None,
        shares[ceil(len(shares) * NINE_IN_TEN) - 1] if len(shares) >= FEWEST else None,
    )
