"""A rehearsal on a CPU of the script that checks an accelerator."""

import json

import check_accelerator
import pytest


def run(capsys, *sections):
    status = check_accelerator.main(["--tiny", *sections])
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.slow
def test_numbers_of_this_machine_are_those_of_this_machine(capsys):
    status, lines = run(capsys, "correctness")
    exact = [line for line in lines if "passed" in line]
    assert status == 0 and len(exact) == 12 and all(line["relative"] == 0 for line in exact)
    assert len(lines) == 1 + 13 * 2


@pytest.mark.slow
def test_all_sections_run(capsys):
    status, lines = run(capsys)
    assert status == 0, [line for line in lines if "error" in line]
    assert {line["section"] for line in lines} == {"machine", *(each.__name__ for each in check_accelerator.SECTIONS)}
    assert all(line["per_s"] > 0 for line in lines if "per_s" in line)
    assert [line["same"] for line in lines if "same" in line] == [True, True]


def test_differences_and_failures_are_reported(capsys, monkeypatch):
    def broken(sizes):
        yield {"method": "gradient", "passed": False}
        raise RuntimeError("out of memory")

    monkeypatch.setattr(check_accelerator, "SECTIONS", {broken: 1})
    status, (machine, wrong, failed) = run(capsys)
    assert status == 1 and wrong["passed"] is False and failed["error"] == "RuntimeError: out of memory"


def test_what_no_longer_fits_is_named(capsys):
    assert check_accelerator.main(["--seconds", "5", "speed"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"section": "speed", "skipped": True}


def test_unknown_sections_are_refused(capsys):
    with pytest.raises(SystemExit):
        check_accelerator.main(["rapidity"])
    assert "expected sections among peaks, correctness" in capsys.readouterr().err
