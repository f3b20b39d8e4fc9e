"""Our words and numbers in templates, and the notices of every page."""

from __future__ import annotations

import datetime
import json
from typing import Any

from django import template
from django.template import Context
from django.utils.dateformat import format as date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from diagnosis import permissions, queue_selectors, wording
from diagnosis.bounded import counted
from diagnosis.services import registry
from diagnosis.views.evidence import metric_word

register = template.Library()

register.filter("counted", counted)
register.filter("class_word", wording.class_word)
register.filter("percent", wording.percent)
register.filter("milliseconds", wording.milliseconds)
register.filter("review_sentence", wording.review_sentence)
register.filter("outcome_sentence", wording.outcome_sentence)
register.filter("metric_word", metric_word)
register.filter("plain_number", wording.plain_number)


@register.simple_tag
def wording_of(name: str) -> str:
    """A sentence of the wording module by its name: `{% wording_of "SCOPE_NOTICE" %}`."""
    return str(getattr(wording, name))


@register.simple_tag
def review_words() -> list[tuple[str, str]]:
    """The classes a reader may give, each with its word."""
    return list(wording.REVIEW_WORDS.items())


@register.filter
def as_json(value: Any) -> str:
    """A value as JSON, for a data attribute (escaped there as any text)."""
    return json.dumps(value)


@register.filter
def coded(sentence: str) -> SafeString:
    """A sentence that the command line says too, with what stands between backticks as code."""
    parts = enumerate(str(sentence).split("`"))
    return format_html_join(
        "", "{}", ((format_html("<code>{}</code>", p) if n % 2 else p,) for n, p in parts)
    )


@register.filter
def ordinal(value: float | None) -> str:
    """71.3 as `71st`."""
    if value is None:
        return ""
    whole = round(value)
    suffix = "th" if 10 <= whole % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(whole % 10, "th")
    return f"{whole}{suffix}"


@register.filter
def figure(value: float | None) -> str:
    """A metric to three digits behind the point; what is not defined reads n/a."""
    return "n/a" if value is None else f"{value:.3f}"


@register.filter
def amount(value: float | None) -> str:
    """A count as `1,204`, a share or a difference of shares as `figure` has it."""
    return f"{value:,.0f}" if value is not None and value > 1 else figure(value)


@register.filter
def unlocal(value: float) -> str:
    """A number as markup needs it, whatever the page's language."""
    return str(value)


@register.filter
def capitalised(text: str) -> str:
    """The first letter large, the others untouched: `pre-B` becomes `Pre-B`."""
    return text[:1].upper() + text[1:]


@register.filter
def share(part: int, whole: int) -> float:
    """`part` of `whole` in percent, for a bar; 0 of nothing is 0."""
    return round(100 * part / whole, 1) if whole else 0.0


@register.filter
def age(day: datetime.date, today: datetime.date) -> str:
    """How long ago a day was, in the words of a worklist."""
    days = (today - day).days
    if days < 1:
        return "today"
    if days == 1:
        return "yesterday"
    return f"{days} days ago" if days < 60 else date_format(day, "j M Y")


@register.filter
def measured(check: dict[str, Any]) -> str:
    """What a passed quality check measured, short; its detail says it with the limit."""
    value = check["value"]
    short = {"size": f"{value:.0f} px", "focus": f"{value:.2f}", "exposure": f"{value:.0f} of 255"}
    return short.get(check["name"], f"{100 * value:.1f} %" if value <= 1 else f"{value:.0f}")


@register.filter
def may(user: Any, action: str) -> bool:
    """Whether the user's role allows an action: `{% if user|may:"review" %}`."""
    return permissions.can(user, action)


@register.inclusion_tag("diagnosis/_notices.html", takes_context=True)
def page_notices(context: Context) -> dict[str, Any]:
    """The notice of every page; to administrators also why no analysis can run, or that none seems to."""
    user = getattr(context.get("request"), "user", None)
    problem, stuck = None, 0
    if user is not None and permissions.can(user, permissions.MANAGE_MODELS):
        problem = registry.bundle_problem(laboratory=user.laboratory_id)
        stuck = 0 if problem else queue_selectors.stuck_count(user=user)
    return {"notice": wording.RESEARCH_NOTICE, "problem": problem, "stuck": stuck}


@register.inclusion_tag("admin/_notices.html", takes_context=True)
def admin_notices(context: Context) -> dict[str, Any]:
    """The same, in the looks of the admin site."""
    return page_notices(context)
