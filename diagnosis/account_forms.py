"""What people type about themselves and about their laboratory."""

from __future__ import annotations

from typing import Any

from django import forms

from diagnosis.forms import DescribedForm
from diagnosis.models import Laboratory, User


class PersonForm(DescribedForm):
    """What a person is called."""

    title = forms.CharField(
        required=False,
        max_length=80,
        help_text=User._meta.get_field("title").help_text,
        widget=forms.TextInput({"autocomplete": "honorific-prefix"}),
    )
    first_name = forms.CharField(
        required=False,
        max_length=150,
        label="First name",
        widget=forms.TextInput({"autocomplete": "given-name"}),
    )
    last_name = forms.CharField(
        required=False,
        max_length=150,
        label="Last name",
        widget=forms.TextInput({"autocomplete": "family-name"}),
    )


class ShareField(forms.FloatField):
    """A share from 0 to 1, with a decimal point or a decimal comma; empty: not set."""

    widget = forms.TextInput({"inputmode": "decimal", "autocomplete": "off"})
    default_error_messages = {"invalid": "Give a share from 0 to 1, such as 0.95 or 0,95; or nothing."}

    def to_python(self, value: Any) -> Any:
        return super().to_python(value.strip().replace(",", ".") if isinstance(value, str) else value)


def _help(name: str) -> str:
    return str(Laboratory._meta.get_field(name).help_text)


def _number(name: str, label: str, smallest: int, largest: int) -> forms.IntegerField:
    return forms.IntegerField(
        label=label,
        help_text=_help(name),
        min_value=smallest,
        max_value=largest,
        widget=forms.TextInput({"inputmode": "numeric", "autocomplete": "off"}),
        error_messages={
            "invalid": f"Give a whole number from {smallest} to {largest}.",
            "min_value": f"Give a whole number from {smallest} to {largest}.",
            "max_value": f"Give a whole number from {smallest} to {largest}.",
        },
    )


def _share(name: str, label: str) -> ShareField:
    return ShareField(
        required=False,
        label=label,
        help_text=_help(name),
        min_value=0.0,
        max_value=1.0,
        error_messages={
            "min_value": "A share lies between 0 and 1.",
            "max_value": "A share lies between 0 and 1.",
        },
    )


class LaboratoryForm(DescribedForm):
    """The settings of a laboratory, by the names of their columns."""

    name = forms.CharField(
        max_length=200, help_text="Letterhead of reports, and beside the names of its people."
    )
    address = forms.CharField(
        required=False, max_length=600, help_text=_help("address"), widget=forms.Textarea({"rows": 3})
    )
    is_blind = forms.BooleanField(required=False, label="Blind reading", help_text=_help("is_blind"))
    malignant_share = _share("malignant_share", "Malignant share")
    turnaround_hours = _number("turnaround_hours", "Turnaround, hours", 1, 8760)
    accepted_sensitivity = _share("accepted_sensitivity", "Lowest sensitivity")
    accepted_specificity = _share("accepted_specificity", "Lowest specificity")
    idle_minutes = _number("idle_minutes", "Idle minutes", 1, 720)
    needs_second_factor = forms.BooleanField(
        required=False, label="Second factor compulsory", help_text=_help("needs_second_factor")
    )
