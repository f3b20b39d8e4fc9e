"""Forms of the worklist: its filters, and who is to read a case."""

from __future__ import annotations

from typing import Any

from django import forms

from diagnosis import wording, worklist_selectors
from diagnosis.forms import DescribedForm, FewField
from diagnosis.models import Case, User
from diagnosis.worklist_selectors import MINE, NOBODYS, OPEN, SHOWN, WorklistFilters

STATUSES = [("", "as the tab says"), *Case.Status.choices]
SPECIMENS = [("", "any specimen"), *wording.SPECIMEN_WORDS.items()]


class WorklistForm(DescribedForm):
    """The worklist's filters, from the address."""

    reader = forms.ChoiceField(required=False)
    status = forms.ChoiceField(required=False, choices=STATUSES, label="Status")
    specimen = forms.ChoiceField(required=False, choices=SPECIMENS)
    site = FewField(queryset=None, required=False, empty_label="any site")
    late = forms.BooleanField(required=False, label="Late, and not signed out")

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._show = self.data.get("show", OPEN)
        others = [
            (str(one.pk), one.display_name)
            for one in worklist_selectors.colleagues(user=user)
            if one.pk != user.pk
        ]
        choices = [("", "any reader"), (MINE, "me"), (NOBODYS, "nobody"), *others]
        self.fields["reader"].choices = choices  # type: ignore[attr-defined]  # of a field of choices
        self.fields["site"].queryset = worklist_selectors.sites(user=user)  # type: ignore[attr-defined]
        self.colleagues = others

    def filters(self) -> WorklistFilters:
        """What was asked for; a value that can't be understood narrows nothing, and the form says so."""
        asked = self.cleaned_data if self.is_valid() else getattr(self, "cleaned_data", {})
        site = asked.get("site")
        return WorklistFilters(
            show=self._show if self._show in SHOWN else OPEN,
            reader=asked.get("reader") or "",
            status=asked.get("status") or "",
            specimen=asked.get("specimen") or "",
            site=site.pk if site else None,
            is_late=bool(asked.get("late")),
        )

    @property
    def narrows(self) -> bool:
        """Whether any filter but the tab is set."""
        return any(self.data.get(name) for name in self.fields)
