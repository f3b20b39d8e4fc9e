"""Scripts of ours in templates: a module with all that it imports asked for at once."""

from __future__ import annotations

import posixpath
import re
from functools import lru_cache
from pathlib import Path
from typing import Final

from django import template
from django.conf import settings
from django.contrib.staticfiles import finders
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()

_IMPORT: Final = re.compile(r"""^(?:import|export)\s[^"';]*?["'](\./[^"']+)["'];""", re.MULTILINE)
"""A module's static import or re-export of one of ours, as webapp.staticfiles takes them: all stand at the beginning of
a line, and name a file beside it.
"""


@register.simple_tag
def module(name: str) -> SafeString:
    """The tags of a module, with what it imports asked for beforehand.

    `{% module "diagnosis/js/cells.js" %}`. Without, a browser learns of each import only when it has read what imports
    it: one round trip a level.
    """
    found = imported_by(name) if settings.DEBUG else _kept(name)
    ahead = format_html_join(
        "\n", '<link rel="modulepreload" href="{}">', ((static(other),) for other in found)
    )
    return format_html('{}\n<script type="module" src="{}"></script>', ahead, static(name))


def imported_by(name: str) -> tuple[str, ...]:
    """Names of the modules that a module imports, itself or through others; it is named as `static` names it.

    Raises FileNotFoundError where one is missing.
    """
    found: dict[str, None] = {}
    waiting = [name]
    while waiting:
        importer = waiting.pop(0)
        path = finders.find(importer)
        if path is None:
            raise FileNotFoundError(f"There is no static file {importer}.")
        for relative in _IMPORT.findall(Path(str(path)).read_text(encoding="utf-8")):
            other = posixpath.normpath(posixpath.join(posixpath.dirname(importer), relative))
            if other not in found and other != name:
                found[other] = None
                waiting.append(other)
    return tuple(found)


_kept = lru_cache(maxsize=64)(imported_by)
