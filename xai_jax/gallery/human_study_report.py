"""`python -m xai_jax.gallery.human_study_report FOLDER` prints the numbers of a study with people beside the paper's.

FOLDER is where `human_study.build` wrote; the files that people saved lie in FOLDER/answers.
"""

import argparse
import sys
from pathlib import Path

from xai_jax.gallery import formatting
from xai_jax.gallery.human_study_analysis import ALPHA, Analysis, Condition, Share, analyse, methods_right, outcomes
from xai_jax.gallery.human_study_answers import AnswersError

VERDICTS = {1: "right", -1: "wrong", 0: "no significant difference", None: "too few answers"}
HEADER = ["Model", "Class", "Method", "Right concept", "Workers", "Picture", "Caption", "p", "Verdict"]


def report(analysis: Analysis) -> str:
    """All numbers as Markdown: the paper's, each condition, and the files that do not count."""
    conditions = markdown(HEADER, [condition_row(entry) for entry in analysis.conditions])
    excluded = "\n".join(f"- {line}" for line in analysis.answers.excluded) or "- none"
    return (
        f"{markdown(['Quantity', 'Here', 'Kim et al. 2018'], summary(analysis))}\n\n"
        "In brackets: 95 % interval, by drawing workers again (bootstrap).\n\n"
        f"{conditions}\n\n"
        "Picture, Caption: mean importance, 1 to 10. p: two-sided Wilcoxon signed-rank test of their difference, not\n"
        f"corrected for the number of conditions. The verdict is right or wrong where p < {ALPHA}.\n\n"
        f"Files that do not count:\n\n{excluded}"
    )


def summary(analysis: Analysis) -> list[list[str]]:
    """The rows of the first table: quantity, ours, the paper's."""
    key, verdicts, pairs = analysis.answers.key, outcomes(analysis), methods_right(analysis)
    tested = len(analysis.conditions) - verdicts[None]
    known = pairs.total() - pairs[None]
    return [
        ["Workers", str(len(analysis.answers.sheets)), "50"],
        ["Different images", str(key["images"]), "60"],
        ["Different saliency maps", str(key["maps"]), "120"],
        ["Answers that rate the right concept higher, ties left out (chance: 50 %)", percent(analysis.correct), "52 %"],
        ["The same with every tie counted as half right", percent(analysis.halved), "–"],
        ["Ties: answers that rate both concepts the same", percent(analysis.tied), "–"],
        ["Very confident among the right answers", percent(analysis.confident_right), "similar to the next"],
        ["Very confident among the wrong answers", percent(analysis.confident_wrong), "similar to the one above"],
        ["Conditions: wrong concept, or no difference", f"{tested - verdicts[1]} of {tested}", "more than half"],
        ["Models and classes: exactly one method right", f"{pairs[1]} of {known}", "–"],
        ["Models and classes: both methods right", f"{pairs[2]} of {known}", "0"],
    ]


def percent(share: Share) -> str:
    """`52 % (45 to 59) of 300`."""
    if share.count == 0:
        return "–"
    interval = "" if share.low != share.low else f" ({100 * share.low:.0f} to {100 * share.high:.0f})"
    return f"{100 * share.value:.0f} %{interval} of {share.count}"


def condition_row(entry: Condition) -> list[str]:
    """One row of the second table; what is NaN is a dash."""
    numbers = [
        formatting.number(None if value != value else value, 2) for value in (entry.image, entry.caption, entry.p)
    ]
    names = [entry.model, entry.label, entry.method, entry.concept]
    return [*names, str(entry.count), *numbers, VERDICTS[entry.verdict]]


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table that is aligned in a terminal, too."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in (header, ["---"] * len(header), *rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows)


def main(arguments: list[str] | None = None) -> int:
    """Prints the report; returns the exit status, 1 after an error."""
    parser = argparse.ArgumentParser(
        prog="python -m xai_jax.gallery.human_study_report", description="Print the numbers of a study."
    )
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
