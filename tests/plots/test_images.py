"""Panels of attributions."""

import warnings

import numpy as np
import pytest

from xai_jax import plots


def test_a_map_of_zeros_is_grey_with_a_warning():
    maps = np.zeros((2, 8, 8, 3), np.float32)
    maps[1, 0, 0, 0] = 1e-30
    with pytest.warns(UserWarning, match="zero everywhere"):
        grey = plots.signed(maps[0])
    np.testing.assert_array_equal(grey, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plots.signed(maps[1]).max() == 1


def test_a_map_with_nan_is_refused():
    values = np.ones((4, 4, 3), np.float32)
    values[2, 1, 0] = np.nan
    with pytest.raises(ValueError, match="Expected a map of numbers, got NaN"):
        plots.signed(values)
