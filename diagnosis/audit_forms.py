"""The audit's filters, from the address."""

from __future__ import annotations

from typing import Any

from django import forms

from diagnosis import audit_selectors, audit_wording
from diagnosis.audit_selectors import AuditFilters
from diagnosis.forms import DescribedForm, FewField
from diagnosis.models import User


def _day(label: str) -> forms.DateField:
    return forms.DateField(
        required=False, label=label, widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d")
    )


class AuditForm(DescribedForm):
    q = forms.CharField(
        required=False,
        max_length=200,
        label="Search",
        widget=forms.TextInput({"type": "search", "placeholder": "Accession, patient code or person"}),
    )
    person = FewField(queryset=None, required=False, empty_label="anybody")
    action = forms.ChoiceField(
        required=False,
        choices=[
            ("", "anything"),
            *((group, list(words.items())) for group, words in audit_wording.ACTIONS.items()),
        ],
    )
    since = _day("From")
    until = _day("to")

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["person"].queryset = audit_selectors.people(user=user)  # type: ignore[attr-defined]

    def filters(self) -> AuditFilters:
        """What was asked for; a value that can't be understood narrows nothing, and the form says so."""
        asked = self.cleaned_data if self.is_valid() else getattr(self, "cleaned_data", {})
        person = asked.get("person")
        return AuditFilters(
            q=asked.get("q") or "",
            person=person.pk if person else None,
            action=asked.get("action") or "",
            date_from=asked.get("since"),
            date_to=asked.get("until"),
        )

    @property
    def narrows(self) -> bool:
        """Whether any filter is set."""
        return any(self.data.get(name) for name in self.fields)
