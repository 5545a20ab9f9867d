"""From answer files to numbers: which files count, which are rejected, and statistics against their definitions."""

import functools
import itertools
import json
import operator
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.small_study import LABELS, METHODS, build, random_sheets, save, sheet, write_study
from xai_jax.gallery import human_study_analysis as analysis
from xai_jax.gallery import human_study_answers, human_study_report
from xai_jax.gallery.human_study_answers import AnswersError


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture
def study(tmp_path, key):
    """A folder with the key alone, which is all that reading answers needs."""
    return write_study(tmp_path, key, []), key


def expected_counts(key, sheets):
    """Right, wrong and tied answers, and the very confident among the first two, counted one by one."""
    counts = dict.fromkeys(("right", "wrong", "tied", "confident right", "confident wrong"), 0)
    for answer in (answer for content in sheets for answer in content["answers"]):
        right, wrong = sorted(("image", "caption"), key=key["tasks"][answer["task"]]["concept"].__ne__)
        outcome = {1: "right", 0: "tied", -1: "wrong"}[np.sign(answer[right] - answer[wrong])]
        counts[outcome] += 1
        if outcome != "tied" and answer["confidence"] == 5:
            counts[f"confident {outcome}"] += 1
    return counts.values()


def test_shares_are_those_of_counting(study):
    folder, key = study
    sheets = random_sheets(key, 20)
    found = analysis.analyse(write_study(folder, key, sheets))
    right, wrong, tied, confident_right, confident_wrong = expected_counts(key, sheets)
    assert tied > 0 and right + wrong + tied == 120
    assert found.correct[::3] == (right / (right + wrong), right + wrong)
    assert found.halved[::3] == ((right + tied / 2) / 120, 120)
    assert found.tied[::3] == (tied / 120, 120)
    assert found.confident_right[::3] == (confident_right / right, right)
    assert found.confident_wrong[::3] == (confident_wrong / wrong, wrong)
    assert all(share.low < share.value < share.high for share in found[1:6])


def test_only_the_right_concept_of_each_model_counts_as_right(study):
    folder, key = study
    save(folder, sheet(key, "a", "noise 0 %", lambda task: (2, 9, 5)))
    assert np.isnan(analysis.analyse(folder).correct[1:3]).all()  # one worker has no interval
    save(folder, sheet(key, "b", "noise 100 %", lambda task: (9, 2, 1)))
    found = analysis.analyse(folder)
    assert found.correct == (1, 1, 1, 12)
    assert found.confident_right.value == 0.5 and np.isnan(found.confident_wrong.value)


def test_the_bootstrap_resamples_workers_not_answers():
    worker = np.repeat(np.arange(40), 6)
    agree = np.repeat(np.arange(40) % 2, 6)  # six equal answers per worker: as informative as forty answers
    mixed = np.tile([0, 1], 120)
    wide, none = (analysis.share(part, np.ones(240), worker) for part in (agree, mixed))
    expected = 1.96 * np.sqrt(0.25 / 40)
    np.testing.assert_allclose([wide.low, wide.high], [0.5 - expected, 0.5 + expected], atol=0.02)
    assert none == (0.5, 0.5, 0.5, 240)


def exact_p(lead):
    """Share of all signs of the ranks for which the rank sum is at least as far from zero as the one found."""
    ranks = np.array([(abs(lead) < a).sum() + ((abs(lead) == a).sum() + 1) / 2 for a in abs(lead)])
    sums = np.array([signs @ ranks for signs in itertools.product((-1, 1), repeat=len(lead))])
    return (abs(sums) >= abs(np.sign(lead) @ ranks) - 1e-9).mean()


@pytest.mark.parametrize("seed", range(5))
def test_the_signed_rank_test_is_exact_for_few_answers(seed):
    rng = np.random.default_rng(seed)
    lead = rng.integers(1, 10, 9) * rng.choice([-1, 1], 9, p=[0.2, 0.8])
    p, verdict = analysis.signed_rank(lead)
    np.testing.assert_allclose(p, exact_p(lead), rtol=1e-9)
    assert verdict == (p < 0.05)


@pytest.mark.parametrize(
    ("lead", "verdict"),
    [
        ([1] * 5, None),
        ([], None),
        ([1] * 6, 1),
        ([-1] * 6, -1),
        ([-8, -9, -7, 1, -6, -5, -8], -1),
        ([9, -9] * 5, 0),
        ([1] * 5 + [0] * 20, 0),
        ([0] * 25, 0),
    ],
)
def test_verdicts_need_significance_and_enough_answers(lead, verdict):
    assert analysis.signed_rank(np.array(lead, int))[1] == verdict


def test_conditions_and_pairs_depend_on_their_own_answers_alone(study):
    folder, key = study

    def rate(task):
        lead = {"zebra": (4, 4), "cab": (4, -4), "cucumber": (0, -4)}[task["label"]][METHODS.index(task["method"])]
        return (5 + lead, 5, 5) if task["concept"] == "image" else (5, 5 + lead, 5)

    found = analysis.analyse(write_study(folder, key, [sheet(key, f"w{worker}", rate=rate) for worker in range(8)]))
    verdicts = {(c.label, c.method): c.verdict for c in found.conditions if c.model == "noise 0 %"}
    assert [[verdicts[label, method] for method in METHODS] for label in LABELS] == [[1, 1], [1, -1], [0, -1]]
    assert all(c.verdict is None and c.count == 0 for c in found.conditions if c.model == "noise 100 %")
    assert analysis.outcomes(found) == {1: 3, -1: 2, 0: 1, None: 6}
    assert analysis.methods_right(found) == {2: 1, 1: 1, 0: 1, None: 3}
    zebra = next(c for c in found.conditions if c.label == "zebra")
    assert (zebra.count, zebra.image, zebra.caption, zebra.p) == (8, 5, 9, 2 / 2**8)


def test_random_answers_are_at_chance_level_and_informed_ones_above(tmp_path, key):
    blind, informed = (
        analysis.analyse(write_study(tmp_path / str(favour), key, random_sheets(key, 50, favour=favour)))
        for favour in (0, 5)
    )
    assert blind.correct.low < 0.5 < blind.correct.high and informed.correct.low > 0.75
    assert analysis.outcomes(blind)[0] >= 10 and analysis.outcomes(informed)[1] == 12
    assert analysis.methods_right(informed) == {2: 6}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["answers", 0, "image"], 11, r"answers\[0\].image: expected a whole number from 1 to 10, got 11"),
        (["answers", 1, "caption"], 0, r"answers\[1\].caption: expected a whole number from 1 to 10, got 0"),
        (["answers", 2, "confidence"], 6, r"answers\[2\].confidence: expected a whole number from 1 to 5, got 6"),
        (["answers", 0, "image"], True, r"answers\[0\].image: expected a whole number from 1 to 10, got true"),
        (["answers", 0, "image"], 7.0, r"answers\[0\].image: expected .*, got 7.0"),
        (["answers", 0, "image"], "7", r"answers\[0\].image: expected .*, got \"7\""),
        (["answers", 0, "images"], [1, 2, 3], r"answers\[0\].images: expected 4 different whole numbers"),
        (["answers", 0, "images"], [1, 2, 3, 3], r"answers\[0\].images: expected 4 different whole numbers"),
        (["answers", 4, "images"], [0, 1, 2, 6], r"answers\[4\].images: expected numbers below 6"),
        (["answers", 0, "task"], 12, "answers: expected tasks below 12"),
        (["answers", 0, "task"], 1, "answers: expected different tasks of one model"),
        (["answers", 0, "task"], 7, "answers: expected different tasks of one model"),
        (["worker"], "", "worker: expected text that is not empty"),
        (["study"], "other", r"study: expected '\w{16}', got 'other'. Usual cause: the page was built again"),
        (["answers", 0], dict(task=0, image=1, caption=1, confidence=1), r"answers\[0\].images: key is missing"),
    ],
)
def test_a_wrong_value_is_named_with_file_and_key(study, path, value, message):
    folder, key = study
    content = sheet(key)
    functools.reduce(operator.getitem, path[:-1], content)[path[-1]] = value
    save(folder, content, "wrong")
    with pytest.raises(AnswersError, match=f"1 problem.*\n.*answers/wrong.json: {message}"):
        human_study_answers.read(folder)


def test_all_problems_come_in_one_error(study):
    folder, key = study
    save(folder, sheet(key))
    save(folder, {"worker": 3}, "three")
    for number, content in enumerate((b"", b'{"study": "', b"[" * 100_000, b"1" * 5000, b"\xff\xfe\xfa")):
        (folder / "answers" / f"{number}.json").write_bytes(content)
    with pytest.raises(AnswersError, match="9 problem") as error:
        human_study_answers.read(folder)
    assert [f"{i}.json: expected JSON" in str(error.value) for i in range(5)] == [True] * 5
    assert "three.json: worker: " in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def paths(content, path=()):
    """The paths to all values inside some JSON."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, inner in items:
        yield (*path, name)
        yield from paths(inner, (*path, name))


@given(data=st.data(), value=JSON, remove=st.booleans())
@settings(deadline=None, max_examples=300)
def test_a_changed_answer_file_is_refused_or_still_in_range(key, data, value, remove):
    content = sheet(key)
    *path, last = data.draw(st.sampled_from(list(paths(content))))
    inner = functools.reduce(operator.getitem, path, content)
    before = json.dumps(inner)
    if remove:
        del inner[last]
    else:
        inner[last] = value
    with tempfile.TemporaryDirectory() as name:
        folder = write_study(Path(name), key, [])
        save(folder, content, "file")
        try:
            found = human_study_answers.read(folder)
        except AnswersError as error:
            assert "answers/file.json: " in str(error) and json.dumps(inner) != before
            return
    for _, image, caption, confidence in [answer for read in found.sheets for answer in read.answers]:
        assert image in range(1, 11) and caption in range(1, 11) and confidence in range(1, 6)
    complete = len(content["answers"]) == 6
    assert (len(found.sheets), len(found.excluded)) == (complete, 1 - complete)


def test_a_folder_without_key_or_answers_is_refused(tmp_path, key):
    with pytest.raises(AnswersError, match=r"Expected key.json in .*: .*key.json: there is no such file"):
        analysis.analyse(tmp_path)
    write_study(tmp_path, key, [])
    with pytest.raises(AnswersError, match="Expected answers to all tasks by at least one worker in .*, found none"):
        analysis.analyse(tmp_path)
    write_study(tmp_path, key | {"tasks": [{"model": 1}]}, [sheet(key)])
    with pytest.raises(AnswersError, match=r"key.json: tasks\[0\].model: expected text"):
        analysis.analyse(tmp_path)


def test_the_command_prints_the_numbers_beside_the_papers(study, capsys):
    folder, key = study
    assert human_study_report.main([str(folder)]) == 1
    assert "human study: Expected answers" in capsys.readouterr().err
    write_study(folder, key, [*random_sheets(key, 50), sheet(key, "late") | {"answers": []}])
    assert human_study_report.main([str(folder)]) == 0
    text = capsys.readouterr().out
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    rows = {name: cells for name, *cells in table}
    assert rows["Workers"] == ["50", "50"] and rows["Different images"] == ["36", "60"]
    assert rows["Different saliency maps"] == ["72", "120"]
    share, paper = rows["Right answers among those that are not tied (chance level: 50 %)"]
    assert share.startswith(f"{100 * analysis.analyse(folder).correct.value:.0f} % (") and paper == "52 %"
    assert text.count("SmoothGrad") == 6 and "late.json: incomplete, 0 of 6 tasks" in text
