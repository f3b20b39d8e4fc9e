"""The alert *possible APL* in lists of cases."""

from __future__ import annotations

from django import template

from diagnosis.models import Case
from diagnosis.services import apl
from diagnosis.services.apl import Alert

register = template.Library()


@register.filter
def apl_alert(case: Case) -> Alert | None:
    """The alert of a case of the worklist or the history: `{% with alert=case|apl_alert %}`."""
    return apl.alert_of_row(case)
