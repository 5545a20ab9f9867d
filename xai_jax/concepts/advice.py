"""What to make of a TCAV score that says little: the rules of docs/tcav.md, applied to a row of a table.

>>> test = {"low": 0.4, "high": 1.0, "null": 0.5, "tested": "mean", "p": 0.3, "adjusted": 0.3}
>>> rest = {"std": 0.1, "significant": False, "accuracy": 0.55, "accuracy_p": 0.4, "silent": 0.0}
>>> row = Row("relu1", "zebra", "stripes", "score", 5, 0.9, **test, **rest)
"""

from collections.abc import Sequence

from xai_jax.concepts.significance import LEVEL, Row

SILENT = 0.5  # share of images without a gradient above which a score says little


def of_row(row: Row) -> str:
    """One sentence on a score that is no evidence, or easily misread; "" where there is nothing to add.

    >>> of_row(row)
    "It is not shown that the layer separates the concept's images from the others (accuracy 55 %): ..."
    """
    if row.silent > SILENT:
        return (
            f"The gradient is zero for {100 * row.silent:.0f} % of the class's images, as behind a saturated ReLU6: "
            "try another layer."
        )
    if row.accuracy_p > LEVEL:
        return (
            "It is not shown that the layer separates the concept's images from the others (accuracy "
            f"{100 * row.accuracy:.0f} %): its direction may mean nothing. More images of the concept help."
        )
    if not row.significant:
        return "No evidence, however high the score: sets of random images reach similar values."
    if row.statistic == "score" and row.value in (0.0, 1.0):
        return "The score is at its limit and cannot rank concepts: compare mean derivatives."
    return ""


def of_table(rows: Sequence[Row]) -> list[str]:
    """Sentences on a whole table.

    >>> of_table([row])
    ['No score is significant. More images of the concepts, or more random images for controls, give the test power.']
    """
    found = []
    if rows and not any(row.significant for row in rows):
        found.append(
            "No score is significant. More images of the concepts, or more random images for controls, give the test "
            "power."
        )
    cells = {(row.layer, row.label): [] for row in rows}
    for row in rows:
        cells[row.layer, row.label].append(row)
    same = [key for key, own in cells.items() if len(own) > 1 and all(r.significant and r.value > r.null for r in own)]
    if same:
        layer, label = same[0]
        found.append(
            f"All concepts are significant in the same direction (in {layer} for {label}, for one): their images may "
            "share more than their names, such as a background, that the random images lack. Choose random images of "
            "the same kind."
        )
    return found
