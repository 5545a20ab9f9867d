"""Answer files: which count, what is refused and how it is said, and the memory that thousands of them need."""

import json
import subprocess
import sys

import pytest

from tests.helpers.small_study import build, random_sheets, save, sheet, write_study
from xai_jax.gallery import human_study_analysis as analysis
from xai_jax.gallery import human_study_answers
from xai_jax.gallery.human_study_answers import AnswersError


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture
def study(tmp_path, key):
    return write_study(tmp_path, key, []), key


def test_copies_count_once_and_incomplete_answers_are_listed(study):
    folder, key = study
    first = sheet(key)
    save(folder, first, "a")
    save(folder, first, "student 1/b")
    save(folder, first | {"answers": first["answers"][:2]}, "0 early")
    save(folder, sheet(key, "b") | {"answers": first["answers"][:3]}, "c")
    (folder / "answers" / ".DS_Store").write_bytes(b"\0")
    found = human_study_answers.read(folder)
    assert [sheet.worker for sheet in found.sheets] == ["a"]
    same = f"the same worker as {folder}/answers/a.json"
    lines = [f"student 1/b.json: {same}", f"0 early.json: {same}", "c.json: incomplete, 3 of 6 tasks"]
    assert found.excluded == [f"{folder}/answers/{line}" for line in lines]
    text = json.dumps(sheet(key, "z"))
    (folder / "answers/student 1/pasted.txt").write_text(text, encoding="utf-8-sig")
    assert [sheet.worker for sheet in human_study_answers.read(folder).sheets] == ["a", "z"]


def test_the_same_answers_under_many_names_count_once(study):
    folder, key = study
    first = sheet(key)
    for number in range(50):
        save(folder, first | {"worker": f"w{number}", "seed": number}, f"{number:02}")
    save(folder, sheet(key, "z"))
    found = human_study_answers.read(folder)
    assert [sheet.worker for sheet in found.sheets] == ["w0", "z"] and len(found.excluded) == 49
    same = f"the same answers as {folder}/answers/00.json, under another worker's name"
    assert found.excluded[0] == f"{folder}/answers/01.json: {same}"
    assert analysis.analyse(folder).tied.count == 12
    save(folder, sheet(key, "w7"))  # whose other file is a copy
    with pytest.raises(AnswersError, match=r"w7.json: answers differ from .*07.json by the same worker 'w7'"):
        human_study_answers.read(folder)


MEASURE = """
import resource, sys
from xai_jax.gallery import human_study_analysis
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(human_study_analysis.analyse(sys.argv[1]).answers.sheets))
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def test_thousands_of_answer_files_need_little_memory(study):
    folder, key = study
    write_study(folder, key, random_sheets(key, 3000))
    child = subprocess.run([sys.executable, "-c", MEASURE, folder], capture_output=True, text=True, check=True)
    count, added = map(int, child.stdout.split())
    assert count == 3000 and added < 45_000_000  # 300 MB for 20 000


def test_large_files_and_long_or_odd_names_are_refused_in_short_lines(study):
    folder, key = study
    save(folder, sheet(key, "w" * 201), "long")
    save(folder, sheet(key) | {"study": "s" * 100_000}, "other")
    save(folder, sheet(key) | {"answers": [{}] * 100_000}, "many")
    save(folder, sheet(key) | {"note": "x" * human_study_answers.LARGEST}, "large\x1b[2J\n")
    with pytest.raises(AnswersError) as error:
        human_study_answers.read(folder)
    text = str(error.value)
    assert max(map(len, text.splitlines())) < 600 and "\x1b" not in text and len(text.splitlines()) == 25
    assert r"large\x1b[2J\n.json: expected JSON, cannot read it (it has more than 1000000 bytes)" in text
    assert "long.json: worker: expected text that is not empty, of at most 200 characters" in text


def test_two_different_sheets_of_one_worker_are_refused(study):
    folder, key = study
    save(folder, sheet(key), "one")
    save(folder, sheet(key, rate=lambda task: (1, 1, 1)), "two")
    with pytest.raises(AnswersError, match=r"two.json: answers differ from .*one.json by the same worker 'a'"):
        human_study_answers.read(folder)
