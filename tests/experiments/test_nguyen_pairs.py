"""Pairs of classes: which of them both networks predict, and claims about most pairs."""

import dataclasses

import numpy as np

from configs.nguyen2016 import combine as combine_config
from experiments.nguyen2016 import combine

PAIRS = dataclasses.replace(combine_config.get_config("default"), classes=(3, 0, 1), starts=2)
YES, NO, OPEN = "supported", "not supported", "inconclusive"


def decisions(numbers, claims):
    assert all(number.value is not None for number in numbers)
    return [claim.verdict.decision for claim in claims]


def test_pairs_are_each_class_alone_and_with_all_others():
    assert combine.pairs(PAIRS).tolist() == [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]]
    assert combine.singles(PAIRS).tolist() == [0, 3, 5]


def test_both_classes_are_predicted_where_they_are_the_two_most_probable():
    logits = np.zeros((6, 2, 4))
    logits[1, :, [3, 0]] = 5  # classes 3 and 0, in both starts
    logits[2, 0, [1, 3]] = 5  # 3 and 1 in one start
    logits[2, 1, [0, 3]] = 5
    logits[4, :, [2, 0]] = 5  # 0 and 1 in none
    np.testing.assert_allclose(combine.both_predicted(logits, PAIRS), [1, 0.5, 0])
    logits[0, :, 3], logits[3, :, 0], logits[5, :, 1] = 10, 20, 4
    logits[1, 1, 3] = 9
    found = combine.measure(logits, {"evaluated": logits}, PAIRS)
    np.testing.assert_allclose(found["kept"], [[1, 0.7, 0.5], [0.25, 1, 0.25], [2.5 / 4, 0, 1]])
    np.testing.assert_allclose(found["evaluated"], found["network"])


def test_claims_about_pairs():
    many = np.ones((13, 13)) * 0.7

    def table(network, evaluated, blended):
        blends = {"blended": blended, "evaluated blended": blended}
        return {"x": {"kept": many, "network": network, "evaluated": evaluated, **blends}}

    config = combine_config.get_config("default")
    some = np.where(np.arange(78) < 26, 1.0, 0.25)
    assert decisions(*combine.findings(table(np.ones(78), np.ones(78), some), config)) == [YES, YES, YES]
    assert decisions(*combine.findings(table(some, some, np.ones(78)), config)) == [NO, NO, NO]
    config = dataclasses.replace(config, evaluation_network="photo_maxpool")  # the explained network itself
    assert decisions(*combine.findings(table(some, some, some), config)) == [NO, OPEN, OPEN]
