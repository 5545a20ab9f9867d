"""From people's answers to the paper's numbers (Kim et al. 2018, human subjects)."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from xai_jax.gallery.human_study import QUESTIONS
from xai_jax.gallery.human_study_answers import Answers, AnswersError, read

ALPHA = 0.05
TESTABLE = 6  # fewer answers cannot reach p < 0.05: 2 / 2**5 is 0.06
RESAMPLES = 10_000
VERY_CONFIDENT = 5


class Share(NamedTuple):
    """A share of `count` answers, NaN if there are none, with its 95 % interval, NaN if from fewer than two workers."""

    value: float
    low: float
    high: float
    count: int


class Condition(NamedTuple):
    """One model, class and method: mean ratings of both concepts, and the signed-rank test of their difference.

    `verdict`: 1 where the right concept is rated higher at p < 0.05, -1 the wrong one, 0 neither, None for fewer than
    six answers, which no p can be so small for.
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
    """The paper's numbers. An answer is right if it rates that concept higher which the network relies on."""

    answers: Answers
    correct: Share  # of the answers that are not tied
    halved: Share  # of all answers, where a tie counts one half
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
    lead: np.ndarray  # how much higher the right concept is rated than the other


def analyse(folder: str | Path) -> Analysis:
    """The numbers of the study in `folder`. Raises `AnswersError`, also if no complete answers are there."""
    answers = read(folder)
    if not answers.sheets:
        raise AnswersError(f"Expected answers to all tasks by at least one worker in {folder}, found none.")
    ratings = columns(answers)
    right, wrong, tied = ratings.lead > 0, ratings.lead < 0, ratings.lead == 0
    sure, every = ratings.confidence == VERY_CONFIDENT, np.ones(len(tied), bool)
    return Analysis(
        answers,
        correct=share(right, ~tied, ratings.worker),
        halved=share(right + tied / 2, every, ratings.worker),
        tied=share(tied, every, ratings.worker),
        confident_right=share(right & sure, right, ratings.worker),
        confident_wrong=share(wrong & sure, wrong, ratings.worker),
        conditions=[condition(answers.key, ratings, task) for task in range(len(answers.key["tasks"]))],
    )


def columns(answers: Answers) -> Ratings:
    """The answers of all sheets, one below the other."""
    tasks = answers.key["tasks"]
    rows = [(worker, answer) for worker, sheet in enumerate(answers.sheets) for answer in sheet.answers]
    names = ["task", *(question.name for question in QUESTIONS)]
    task, image, caption, confidence = (np.array([answer[name] for _, answer in rows]) for name in names)
    sign = np.array([1 if tasks[number]["concept"] == "image" else -1 for number in task])
    worker = np.array([worker for worker, _ in rows])
    return Ratings(worker, task, image, caption, confidence, sign * (image - caption))


def share(part: np.ndarray, whole: np.ndarray, worker: np.ndarray, seed: int = 0) -> Share:
    """Sum of `part` over sum of `whole`, both (A,), with a bootstrap interval.

    Workers are drawn, not answers: those of one person are not independent of each other.
    """
    top, bottom = (np.bincount(worker, values) for values in (part, whole))
    value = top.sum() / bottom.sum() if bottom.any() else np.nan
    if np.count_nonzero(bottom) < 2:
        return Share(value, np.nan, np.nan, int(bottom.sum()))
    draws = np.random.default_rng(seed).multinomial(len(top), np.full(len(top), 1 / len(top)), RESAMPLES)
    draws = draws[draws @ bottom > 0]
    low, high = np.percentile((draws @ top) / (draws @ bottom), [2.5, 97.5])
    return Share(value, low, high, int(bottom.sum()))


def condition(key: dict, ratings: Ratings, task: int) -> Condition:
    """One task's ratings by all who had it."""
    here = ratings.task == task
    entry, lead = key["tasks"][task], ratings.lead[here]
    names = [entry[name] for name in ("model", "label", "method", "concept")]
    means = [float(values[here].mean()) if here.any() else np.nan for values in (ratings.image, ratings.caption)]
    p, verdict = signed_rank(lead)
    return Condition(*names, int(here.sum()), *means, p, verdict)


def signed_rank(lead: np.ndarray) -> tuple[float, int | None]:
    """Two-sided p, and the sign of the larger rank sum if p < 0.05, else 0; (NaN, None) for too few answers (n,).

    Answers without a difference are left out of the ranks, as Wilcoxon did; if all are, p is 1.
    """
    if len(lead) < TESTABLE:
        return np.nan, None
    lead = lead[lead != 0]
    p = float(stats.wilcoxon(lead).pvalue) if lead.size else 1.0
    ranks = stats.rankdata(abs(lead)) * np.sign(lead)
    return p, int(np.sign(ranks.sum())) if p < ALPHA else 0


def outcomes(analysis: Analysis) -> Counter:
    """How many verdicts there are of each kind."""
    return Counter(condition.verdict for condition in analysis.conditions)


def methods_right(analysis: Analysis) -> Counter:
    """For how many pairs of model and class 0, 1 or 2 methods told the right concept; None: not known for one."""
    pairs: dict[tuple[str, str], list[int | None]] = {}
    for entry in analysis.conditions:
        pairs.setdefault((entry.model, entry.label), []).append(entry.verdict)
    return Counter(None if None in verdicts else verdicts.count(1) for verdicts in pairs.values())
