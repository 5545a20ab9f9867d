"""Statistics of a human-subject study on saliency maps (Kim et al. 2018, section 4.3).

>>> import numpy as np
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from xai_jax.gallery.human_study_answers import Answers, AnswersError, read
from xai_jax.io.errors import excerpt

ALPHA = 0.05
TESTABLE = 6  # the smallest p of five answers, 2 / 2**5, exceeds ALPHA
RESAMPLES = 10_000
VERY_CONFIDENT = 5


class Share(NamedTuple):
    """Share of `count` answers, NaN if 0, with a 95 % confidence interval, NaN for fewer than two workers."""

    value: float
    low: float
    high: float
    count: int


class Condition(NamedTuple):
    """One model, class and method: mean ratings of both concepts, and the signed-rank test of their difference.

    `verdict`: 1 where the right concept is rated significantly higher (p < 0.05), -1 where the wrong one is, 0 without
    a significant difference, None for fewer than six answers, too few for significance.
    """

    model: str
    label: str
    method: str
    concept: str
    count: int
    image: float
    caption: float
    p: float
    verdict: int | None


class Analysis(NamedTuple):
    """The paper's numbers. An answer is right if it rates the concept higher that the network relies on."""

    answers: Answers
    correct: Share  # of the answers that are not tied
    halved: Share  # of all answers, each tie counted as one half
    tied: Share  # of all answers
    confident_right: Share  # "very confident", of the right answers
    confident_wrong: Share  # of the wrong answers
    conditions: list[Condition]


class Ratings(NamedTuple):
    """All answers as columns (A,)."""

    worker: np.ndarray  # 0, 1, ...
    task: np.ndarray  # index into the key's tasks
    image: np.ndarray
    caption: np.ndarray
    confidence: np.ndarray
    difference: np.ndarray  # rating of the right concept minus that of the other


def analyse(folder: str | Path) -> Analysis:
    """The numbers of the study in `folder`. Example: `analyse("results/kim2018/human_study/study")`.

    Raises `AnswersError` for invalid answer files, or if no worker has completed all tasks.
    """
    answers = read(folder)
    if not answers.sheets:
        raise AnswersError(f"Expected answers to all tasks by at least one worker in {excerpt(folder)}, found none.")
    ratings = _ratings(answers)
    right, wrong, tied = ratings.difference > 0, ratings.difference < 0, ratings.difference == 0
    confident, every = ratings.confidence == VERY_CONFIDENT, np.ones(len(tied), bool)
    return Analysis(
        answers,
        correct=share(right, ~tied, ratings.worker),
        halved=share(right + tied / 2, every, ratings.worker),
        tied=share(tied, every, ratings.worker),
        confident_right=share(right & confident, right, ratings.worker),
        confident_wrong=share(wrong & confident, wrong, ratings.worker),
        conditions=[_condition(answers.key, ratings, task) for task in range(len(answers.key["tasks"]))],
    )


def _ratings(answers: Answers) -> Ratings:
    """The answers of all sheets, concatenated."""
    tasks = answers.key["tasks"]
    task, image, caption, confidence = np.concatenate([sheet.answers for sheet in answers.sheets]).T
    sign = np.array([1 if tasks[number]["concept"] == "image" else -1 for number in task])
    worker = np.repeat(np.arange(len(answers.sheets)), [len(sheet.answers) for sheet in answers.sheets])
    return Ratings(worker, task, image, caption, confidence, sign * (image - caption))


def share(part: np.ndarray, whole: np.ndarray, worker: np.ndarray) -> Share:
    """Sum of `part` over sum of `whole`, both (A,), with a percentile bootstrap interval.

    Workers are resampled, not answers: the answers of one worker are not independent. Workers with the same sums are
    drawn together, which has the same distribution and needs memory for the different sums alone.

    >>> float(share(np.array([1, 0, 1, 0]), np.ones(4), np.array([0, 0, 1, 1])).value)
    0.5
    """
    top, bottom = (np.bincount(worker, values) for values in (part, whole))
    value = top.sum() / bottom.sum() if bottom.any() else np.nan
    if np.count_nonzero(bottom) < 2:
        return Share(value, np.nan, np.nan, int(bottom.sum()))
    count = int(bottom.sum())
    (top, bottom), workers = np.unique([top, bottom], axis=1, return_counts=True)
    draws = np.random.default_rng(0).multinomial(workers.sum(), workers / workers.sum(), RESAMPLES)
    draws = draws[draws @ bottom > 0]
    low, high = np.percentile((draws @ top) / (draws @ bottom), [2.5, 97.5])
    return Share(value, low, high, count)


def _condition(key: dict, ratings: Ratings, task: int) -> Condition:
    """The ratings of one task by all workers who did it."""
    here = ratings.task == task
    names = [key["tasks"][task][name] for name in ("model", "label", "method", "concept")]
    means = [float(values[here].mean()) if here.any() else np.nan for values in (ratings.image, ratings.caption)]
    return Condition(*names, int(here.sum()), *means, *signed_rank(ratings.difference[here]))


def signed_rank(difference: np.ndarray) -> tuple[float, int | None]:
    """Wilcoxon signed-rank test of differences (n,), excluding zeros: (two-sided p, verdict).

    The verdict is the sign of the larger rank sum if p < 0.05, else 0; None with p = NaN for fewer than six answers.

    >>> signed_rank(np.array([1, 2, 3, 4, 5, 6, 7]))
    (0.015625, 1)
    """
    if len(difference) < TESTABLE:
        return np.nan, None
    difference = difference[difference != 0]
    p = float(stats.wilcoxon(difference).pvalue) if difference.size else 1.0
    ranks = stats.rankdata(abs(difference)) * np.sign(difference)
    return p, int(np.sign(ranks.sum())) if p < ALPHA else 0


def outcomes(analysis: Analysis) -> Counter:
    """Number of conditions by verdict. Example: `outcomes(analysis)[1]` where the right concept is rated higher."""
    return Counter(condition.verdict for condition in analysis.conditions)


def methods_right(analysis: Analysis) -> Counter:
    """Number of pairs (model, class) by how many methods are right; None without a verdict for one.

    Example: `methods_right(analysis)[2]` pairs for which both are.
    """
    pairs: dict[tuple[str, str], list[int | None]] = {}
    for entry in analysis.conditions:
        pairs.setdefault((entry.model, entry.label), []).append(entry.verdict)
    return Counter(None if None in verdicts else verdicts.count(1) for verdicts in pairs.values())
