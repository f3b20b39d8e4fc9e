"""Signing as the page does it: with what was shown, and the password."""

from __future__ import annotations

from typing import Any

from diagnosis.models import Case, SignOut, SmearImage, User
from diagnosis.services import report_changes, report_content, sign_out
from diagnosis.services.review import record_review
from tests.diagnosis.conftest import PASSWORD


def reader(name: str, like: User) -> User:
    """Another hematologist of the same laboratory."""
    return User.objects.create_user(
        name, password=PASSWORD, role=like.role, laboratory=like.laboratory, first_name=name.title()
    )


def read(user: User, image: SmearImage, verdict: str = "agree", **more: Any) -> None:
    """Read an image that was analysed."""
    image.refresh_from_db()
    record_review(user=user, image=image, analysis=image.newest_analysis, verdict=verdict, **more)


def shown(case: Case) -> dict[str, str]:
    """What a page of this case shows now."""
    return report_changes.parts(report_content.build(case=Case.objects.get(pk=case.pk)))


def sign(user: User, case: Case, conclusion: str = "Pre-B ALL is suspected.", **more: Any) -> SignOut:
    """Sign a case as it is; every argument of the service may be given instead."""
    fresh = Case.objects.get(pk=case.pk)
    told: dict[str, Any] = {
        "password": PASSWORD,
        "shown": shown(case),
        "address": "192.0.2.1",
        "number": sign_out.next_number(fresh),
    }
    return sign_out.sign(user=user, case=fresh, conclusion=conclusion, **{**told, **more})
