"""`ml` stands alone: it can be used, and tested, without the web application."""

from __future__ import annotations

import ast
from pathlib import Path

import ml

FOREIGN = {"django", "diagnosis", "webapp", "celery"}


def imported(source: str) -> set[str]:
    """The top-level packages that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_ml_imports_nothing_of_the_application() -> None:
    root = Path(ml.__path__[0])
    modules = sorted(root.rglob("*.py"))
    assert len(modules) > 20
    offenders = {
        str(path.relative_to(root)): sorted(foreign)
        for path in modules
        if (foreign := imported(path.read_text(encoding="utf-8")) & FOREIGN)
    }
    assert offenders == {}


def test_an_import_is_found_wherever_it_stands() -> None:
    assert imported("def f():\n    from django.db import models\n") == {"django"}
    assert imported("import diagnosis.models as m") == {"diagnosis"}
    assert imported("from . import reading") == set()
