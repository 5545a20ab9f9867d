"""`python -m xai_jax.gallery.human_study_report FOLDER` prints a human-subject study's numbers beside the paper's.

FOLDER is that of `human_study.build`; the answer files are in FOLDER/answers.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from xai_jax.gallery import formatting
from xai_jax.gallery.human_study_analysis import ALPHA, Analysis, Condition, Share, analyse, methods_right, outcomes
from xai_jax.gallery.human_study_answers import AnswersError

VERDICTS = {1: "right", -1: "wrong", 0: "no significant difference", None: "too few answers"}
HEADER = ["Model", "Class", "Method", "Right concept", "Workers", "Picture", "Caption", "p", "Verdict"]


def report(analysis: Analysis) -> str:
    """The paper's numbers, all conditions and the excluded files, as Markdown. Example: `report(analysis)`."""
    conditions = _table(HEADER, [_condition_row(entry) for entry in analysis.conditions])
    excluded = "\n".join(f"- {line}" for line in analysis.answers.excluded) or "- none"
    return (
        f"{_table(['Quantity', 'Here', 'Kim et al. 2018'], _summary(analysis))}\n\n"
        "In brackets: 95 % bootstrap interval over workers.\n\n"
        f"{conditions}\n\n"
        "Picture, Caption: mean importance, 1 to 10. p: two-sided Wilcoxon signed-rank test of their difference, not\n"
        f"corrected for the number of conditions. The verdict is right or wrong where p < {ALPHA}.\n\n"
        f"Excluded files:\n\n{excluded}"
    )


def _summary(analysis: Analysis) -> list[list[str]]:
    """Rows of the first table: quantity, ours, the paper's."""
    key, verdicts, pairs = analysis.answers.key, outcomes(analysis), methods_right(analysis)
    tested = len(analysis.conditions) - verdicts[None]
    known = pairs.total() - pairs[None]
    return [
        ["Workers", str(len(analysis.answers.sheets)), "50"],
        ["Different images", str(key["images"]), "60"],
        ["Different saliency maps", str(key["maps"]), "120"],
        ["Right answers among those that are not tied (chance level: 50 %)", _percent(analysis.correct), "52 %"],
        ["The same with every tie counted as half right", _percent(analysis.halved), "–"],
        ["Ties: answers that rate both concepts the same", _percent(analysis.tied), "–"],
        ["Very confident among the right answers", _percent(analysis.confident_right), "similar to the next"],
        ["Very confident among the wrong answers", _percent(analysis.confident_wrong), "similar to the one above"],
        ["Conditions: wrong concept, or no difference", f"{tested - verdicts[1]} of {tested}", "more than half"],
        ["Models and classes: exactly one method right", f"{pairs[1]} of {known}", "–"],
        ["Models and classes: both methods right", f"{pairs[2]} of {known}", "0"],
    ]


def _percent(share: Share) -> str:
    """A share with its interval, for example `52 % (45 to 59) of 300`."""
    if share.count == 0:
        return "–"
    interval = "" if np.isnan(share.low) else f" ({100 * share.low:.0f} to {100 * share.high:.0f})"
    return f"{100 * share.value:.0f} %{interval} of {share.count}"


def _condition_row(entry: Condition) -> list[str]:
    """One row of the second table, with a dash for NaN."""
    values = (None if np.isnan(value) else value for value in (entry.image, entry.caption, entry.p))
    return [*entry[:4], str(entry.count), *(formatting.number(value, 2) for value in values), VERDICTS[entry.verdict]]


def _table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with aligned columns."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in (header, ["---"] * len(header), *rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows)


def main(arguments: list[str] | None = None) -> int:
    """Prints the report; returns the exit status. Example: `main(["results/kim2018/human_study/study"])`."""
    parser = argparse.ArgumentParser("python -m xai_jax.gallery.human_study_report", description="Analyse a study.")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="folder with key.json and answers/")
    folder = parser.parse_args(arguments).folder
    try:
        print(report(analyse(folder)))
    except (AnswersError, OSError) as error:
        print(f"human study: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
