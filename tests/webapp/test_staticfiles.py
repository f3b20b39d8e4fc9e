"""Static files under names that say what they hold, and modules with all that they import asked for at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import call_command
from django.template import Context, Template

from diagnosis.templatetags.modules import imported_by

SCRIPTS = "diagnosis/js"


@pytest.fixture
def collected(settings, tmp_path: Path) -> Path:
    """The static files as an installation has them."""
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "webapp.staticfiles.HashedStaticFiles"},
    }
    call_command("collectstatic", interactive=False, verbosity=0)
    return tmp_path


def test_every_import_names_a_file_by_its_hash(collected: Path) -> None:
    hashed = [
        path for path in (collected / SCRIPTS).glob("*.js") if re.search(r"\.[0-9a-f]{12}\.js$", path.name)
    ]
    imports = [
        (path, name)
        for path in hashed
        for name in re.findall(
            r"^(?:import|export)[^\"';]*[\"'](\./[^\"']+)[\"'];", path.read_text(), re.MULTILINE
        )
    ]
    assert len(imports) > 20
    for path, name in imports:
        assert re.search(r"\.[0-9a-f]{12}\.js$", name), f"{path.name} imports {name}"
        assert (path.parent / name).is_file(), f"{path.name} imports {name}, which is not there"


def test_a_page_asks_for_the_files_that_its_modules_import(collected: Path) -> None:
    html = Template('{% load modules %}{% module "diagnosis/js/cells.js" %}').render(Context())
    ahead = re.findall(r'<link rel="modulepreload" href="/static/([^"]+)">', html)
    (script,) = re.findall(r'<script type="module" src="/static/([^"]+)"></script>', html)
    reached, waiting = set(), [script]
    while waiting:
        text = (collected / waiting.pop()).read_text()
        found = {
            f"{SCRIPTS}/{name[2:]}"
            for name in re.findall(r"^import[^\"';]*[\"'](\./[^\"']+)[\"'];", text, re.M)
        }
        waiting += found - reached
        reached |= found
    assert set(ahead) == reached
    assert len(ahead) == len(reached) > 5


def test_a_module_that_imports_nothing_asks_for_nothing_else() -> None:
    assert imported_by(f"{SCRIPTS}/tile.js") == ()


def test_an_exported_text_is_no_import(settings, tmp_path: Path) -> None:
    (tmp_path / "told.js").write_text('export const EXTENSION = ".tif";\nimport { tile } from "./tile.js";\n')
    (tmp_path / "tile.js").write_text("export const tile = 1;\n")
    settings.STATICFILES_DIRS = [("texts", tmp_path)]
    assert imported_by("texts/told.js") == ("texts/tile.js",)


def test_a_missing_module_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.js"):
        imported_by(f"{SCRIPTS}/nowhere.js")


def test_no_modules_import_each_other_in_a_circle() -> None:
    folder = Path(__file__).parents[2] / "diagnosis" / "static" / SCRIPTS
    for path in folder.glob("*.js"):
        name = f"{SCRIPTS}/{path.name}"
        for other in imported_by(name):
            assert name not in imported_by(other), f"{name} and {other} import each other"
