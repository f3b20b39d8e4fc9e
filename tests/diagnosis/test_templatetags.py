"""Our filters in templates."""

from __future__ import annotations

import pytest

from diagnosis.templatetags.leukoscope import coded


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("Put a bundle into it.", "Put a bundle into it."),
        ("Run `manage.py x` & wait.", "Run <code>manage.py x</code> &amp; wait."),
        ("`a` and `<b>`", "<code>a</code> and <code>&lt;b&gt;</code>"),
        ("", ""),
    ],
)
def test_backticks_become_code_and_all_else_is_escaped(sentence: str, shown: str) -> None:
    assert coded(sentence) == shown
