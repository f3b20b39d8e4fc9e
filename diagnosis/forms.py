"""Forms: what people type, parsed. What it means is for the services to judge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from django.forms.models import ModelChoiceIterator

from diagnosis import history_selectors, selectors, wording
from diagnosis.models import Case, User
from diagnosis.selectors import HistoryFilters


class DescribedForm(forms.Form):
    """Ties help and errors to their fields for screen readers, and marks fields in error."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)

    def mark_errors(self) -> None:
        """Focus the first field in error; Django itself adds aria-invalid and aria-describedby."""
        for name in self.errors:
            if name in self.fields:
                self.fields[name].widget.attrs["autofocus"] = True
                return


class _ReadAtOnce(ModelChoiceIterator):
    """Choices by one query: Django's own asks by a cursor on the server, for thousands; that is three for a handful."""

    def __iter__(self) -> Iterator[tuple[Any, str]]:
        if self.field.empty_label is not None:
            yield ("", self.field.empty_label)
        yield from map(self.choice, self.queryset)


class FewField(forms.ModelChoiceField):
    """One of a few rows: readers, sites, models."""

    iterator = _ReadAtOnce


class CommaDecimalField(forms.DecimalField):
    """A number with a decimal point or a decimal comma. No sign parts thousands: 1,234 is 1.234."""

    widget = forms.TextInput({"inputmode": "decimal", "autocomplete": "off"})

    def to_python(self, value: Any) -> Any:
        return super().to_python(value.strip().replace(",", ".") if isinstance(value, str) else value)


class FactsForm(DescribedForm):
    """The facts of a case that a smear is read by."""

    specimen = forms.ChoiceField(choices=list(wording.SPECIMEN_WORDS.items()), initial=Case.Specimen.BLOOD)
    age_years = forms.IntegerField(
        required=False,
        label="Age",
        help_text="In whole years; 0 in the first. Empty if not known.",
        widget=forms.TextInput({"inputmode": "numeric", "autocomplete": "off"}),
        error_messages={"invalid": "Give the age in whole years, such as 7 or 54."},
    )
    white_cell_count = CommaDecimalField(
        required=False,
        label="White cell count",
        help_text="In 10⁹/l, such as 5.2. Empty if not known.",
        error_messages={"invalid": "Give the white cell count as a number, such as 5.2 or 5,2."},
    )


class CaseForm(FactsForm):
    """A new case."""

    accession_number = forms.CharField(
        max_length=64,
        widget=forms.TextInput({"autocomplete": "off", "autofocus": True, "spellcheck": "false"}),
    )
    patient_code = forms.CharField(
        max_length=64,
        help_text="A pseudonym, never a name.",
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false"}),
    )
    received_on = forms.DateField(
        required=False, label="Received on", widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d")
    )
    note = forms.CharField(
        required=False, max_length=4000, label="Clinical note", widget=forms.Textarea({"rows": 2})
    )

    field_order = ["accession_number", "patient_code", "specimen", "received_on"]


OUTCOMES = [
    ("", "any outcome"),
    ("suspected", f"{wording.SUSPECTED_MARK} suspected"),
    ("class", "class"),
    ("indeterminate", "? indeterminate"),
    ("failed", "! failed"),
    ("unfinished", "being analysed"),
]
READINGS = [
    ("", "read or not"),
    ("unread", "has unread images"),
    ("disagreement", "reader and model differ"),
    ("disputed", "readers differ"),
]


class HistoryForm(DescribedForm):
    """The history's filters, from the address."""

    q = forms.CharField(
        required=False,
        max_length=200,
        label="Search",
        help_text="Accession, patient code, words of notes, comments and conclusions. One or two letters: what an "
        "accession or a patient code begins with.",
        widget=forms.TextInput({"type": "search"}),
    )
    outcome = forms.ChoiceField(required=False, choices=OUTCOMES)
    label = forms.ChoiceField(required=False, label="Class")
    reading = forms.ChoiceField(required=False, choices=READINGS)
    reviewer = FewField(queryset=None, required=False, label="Reader", empty_label="any reader")
    version = FewField(queryset=None, required=False, label="Model", empty_label="any model")
    status = forms.ChoiceField(required=False, choices=[("", "any status"), *Case.Status.choices])
    since = forms.DateField(
        required=False, label="Received from", widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d")
    )
    until = forms.DateField(
        required=False, label="to", widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d")
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["label"].choices = [("", "any class"), *wording.REVIEW_WORDS.items()]  # type: ignore[attr-defined]
        self.fields["reviewer"].queryset = selectors.reviewers(user=user)  # type: ignore[attr-defined]
        self.fields["version"].queryset = selectors.version_names(user=user)  # type: ignore[attr-defined]

    def filters(self, sort: str) -> HistoryFilters:
        """What was asked for; a value that can't be understood narrows nothing, and the form says so."""
        asked = self.cleaned_data if self.is_valid() else getattr(self, "cleaned_data", {})
        reviewer, version = asked.get("reviewer"), asked.get("version")
        return HistoryFilters(
            q=asked.get("q") or "",
            outcome=asked.get("outcome") or "",
            label=asked.get("label") or "",
            reviewer=reviewer.pk if reviewer else None,
            disagreement=asked.get("reading") == "disagreement",
            unread=asked.get("reading") == "unread",
            disputed=asked.get("reading") == "disputed",
            model_version=version.pk if version else None,
            status=asked.get("status") or "",
            date_from=asked.get("since"),
            date_to=asked.get("until"),
            sort=sort if sort in history_selectors.SORTS else selectors.DEFAULT_SORT,
        )

    @property
    def narrows(self) -> bool:
        """Whether any filter is set."""
        return any(self.data.get(name) for name in self.fields)
