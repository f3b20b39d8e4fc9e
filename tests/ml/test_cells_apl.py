"""The rule of the alert *possible APL*: from how many promyelocytes on, and that its form for databases is the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.calibration import wilson_interval
from ml.cells.apl import (
    LEAST_LEUKOCYTES,
    LEAST_PROMYELOCYTES,
    is_possible_apl,
    least_share,
    promyelocyte_interval,
)


@pytest.mark.parametrize(
    ("promyelocytes", "leukocytes", "blood", "marrow"),
    [
        (0, 0, False, False),
        (19, 19, False, False),  # too few leukocytes
        (20, 20, True, True),
        (4, 20, False, False),  # too few promyelocytes
        (5, 20, True, False),
        (5, 44, False, False),
        (5, 43, True, False),
        (9, 100, False, False),
        (10, 100, True, False),
        (27, 100, True, False),
        (28, 100, True, True),
        (16, 200, False, False),
        (17, 200, True, False),
    ],
)
def test_it_takes_more_than_a_left_shift(promyelocytes, leukocytes, blood, marrow):
    assert is_possible_apl(promyelocytes, leukocytes) is blood
    assert is_possible_apl(promyelocytes, leukocytes, is_marrow=True) is marrow


@given(st.integers(0, 2000), st.integers(0, 2000), st.booleans())
def test_it_is_wilsons_interval_above_the_limit(one, other, is_marrow):
    some, of = sorted((one, other))
    enough = some >= LEAST_PROMYELOCYTES and of >= LEAST_LEUKOCYTES
    above = wilson_interval(some, of)[0] > least_share(is_marrow=is_marrow)
    assert is_possible_apl(some, of, is_marrow=is_marrow) is (enough and above)


@given(st.integers(0, 500), st.integers(0, 500), st.booleans())
def test_one_more_promyelocyte_never_takes_the_alert_away(one, other, is_marrow):
    some, of = sorted((one, other))
    if is_possible_apl(some, of, is_marrow=is_marrow):
        assert is_possible_apl(some + 1, of + 1, is_marrow=is_marrow)


def test_nothing_counted_has_no_interval():
    assert promyelocyte_interval(0, 0) is None
    assert promyelocyte_interval(5, 50) == wilson_interval(5, 50)
