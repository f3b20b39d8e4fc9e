"""Sign-out: the electronic signature that freezes a case's report, and the amendments that follow it.

A report is signed as it was shown: the page carries a short hash of every part (`report_changes.parts`), and what
changed since refuses the signature by name. All is looked at again under the lock of the case.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Final, cast

from django.db import transaction
from django.utils import timezone

from diagnosis import permissions
from diagnosis.models import Case, SignOut, User
from diagnosis.services import audit, audit_chain, findings, report_changes, report_content, signer, webhooks
from diagnosis.services.report_leukocytes import of_images
from diagnosis.services.report_outcomes import utc
from diagnosis.services.report_schema import AmendmentPart, Content, SignaturePart
from diagnosis.services.sign_out_checks import Check, ImageRef, check
from diagnosis.services.signed import is_open_for_reading

MEANING: Final = "I have examined the images of this case and I am responsible for this report."
AMENDED_MEANING: Final = (
    "I have examined the images of this case and what was amended, "
    "and I am responsible for this amended report."
)
LONGEST_CONCLUSION: Final = 8000
LONGEST_REASON: Final = 2000

NO_CONCLUSION: Final = "Write a conclusion: it is what the report says."
NO_REASON: Final = "Say why the report is amended."
NOT_SIGNED: Final = "Nobody has signed this case yet: its readings can be changed as they are."
NOT_AMENDING: Final = "No amendment of this case is open any more; the page shows how it stands now."
NOTHING_AMENDED: Final = (
    "Nothing differs from the report as it was signed: "
    "change what is to be amended, or abandon the amendment."
)
CHANGED_SINCE: Final = (
    "Something was changed since the amendment was opened: sign it, or undo the change first."
)


class SignOutRefused(Exception):
    """A signature or amendment that isn't taken as things stand; the text is for who tried.

    `field` names what to correct, where it is something she entered.
    """

    def __init__(self, sentence: str, *, field: str = "") -> None:
        super().__init__(sentence)
        self.field = field


def sign(
    *,
    user: User,
    case: Case,
    conclusion: str,
    password: str,
    shown: Mapping[str, str],
    address: str,
    number: int,
    code: str = "",
    addressed: bool = False,
    accepted: bool = False,
) -> SignOut:
    """Sign a case out, or sign the amendment that is open; `number` is that of the signature the page was for.

    `shown` is `report_changes.parts` of what the signer saw. `addressed`: she states that the conclusion addresses the
    images whose reader cannot tell; `accepted`: that images are reported without the outcome of their failed analysis.
    Raises SignOutRefused with a sentence, `signer.IdentityRefused`, and what `permissions.require` raises.
    """
    permissions.require(user, permissions.SIGN_OUT, case)
    conclusion = _text(conclusion, LONGEST_CONCLUSION, "conclusion", NO_CONCLUSION)
    # Once before the identity is asked for, as a one-time code is good for one try, and once under the lock.
    _checked(user, case, number, shown, addressed, accepted)
    signer.confirm(user=user, password=password, code=code, address=address)
    with transaction.atomic():
        locked = _locked(case)
        found = _checked(user, locked, number, shown, addressed, accepted)
        return _store(user, locked, found, number, conclusion)


@transaction.atomic
def open_amendment(*, user: User, case: Case, reason: str) -> Case:
    """Open a signed case for changes, which the next signature makes an amendment; returns the case as it is then.

    Raises SignOutRefused where nobody has signed, or an amendment is open already; and as `permissions.require`.
    """
    permissions.require(user, permissions.SIGN_OUT, case)
    reason = _text(reason, LONGEST_REASON, "reason", NO_REASON)
    locked = _locked(case)
    if locked.newest_sign_out is None:
        raise SignOutRefused(NOT_SIGNED)
    if locked.amending_since is not None:
        raise SignOutRefused(
            f"{_amender(locked)} opened an amendment of this case already: {locked.amending_reason}"
        )
    locked.amending_since, locked.amending_by, locked.amending_reason = timezone.now(), user, reason
    locked.save(update_fields=["amending_since", "amending_by", "amending_reason"])
    findings.forget(case=locked)
    detail = {"number": locked.newest_sign_out.number + 1, "reason": reason}
    audit.record(action="open_amendment", actor=user, laboratory=locked.laboratory, obj=locked, detail=detail)
    return locked


@transaction.atomic
def abandon_amendment(*, user: User, case: Case) -> Case:
    """Close an amendment in which nothing was changed: the report stays as it was signed.

    Raises SignOutRefused where something was changed or none is open, and as `permissions.require`.
    """
    permissions.require(user, permissions.SIGN_OUT, case)
    locked = _locked(case)
    if locked.amending_since is None:
        raise SignOutRefused(NOT_AMENDING)
    if amendment_changes(locked):
        raise SignOutRefused(CHANGED_SINCE)
    detail = {"reason": locked.amending_reason, "opened_by": locked.amending_by_id}
    _close(locked)
    audit.record(
        action="abandon_amendment", actor=user, laboratory=locked.laboratory, obj=locked, detail=detail
    )
    return locked


def amendment_changes(case: Case, content: Content | None = None) -> list[str]:
    """What differs between a signed case and its newest signed report, in words, the conclusion left aside: facts,
    images, their analyses and readings, readers' classes of cells. `content` is the report as it is now.
    """
    if case.newest_sign_out is None:
        return []
    now = content or report_content.build(case=case)
    signed = cast(Content, case.newest_sign_out.content)
    return report_changes.differing(report_changes.substance(signed), report_changes.substance(now))


# --- signing ------------------------------------------------------------------------------------------------


def _locked(case: Case) -> Case:
    """The case, read anew and locked: a second signature waits here for the first.

    Read by a statement of its own: one that waited for the lock joins to the row what it saw before it waited.
    """
    Case.objects.select_for_update().get(pk=case.pk)
    return Case.objects.select_related("laboratory", "newest_sign_out", "amending_by").get(pk=case.pk)


def next_number(case: Case) -> int:
    """The number that the next signature of a case would have."""
    return 1 if case.newest_sign_out is None else case.newest_sign_out.number + 1


def overtaken(*, case: Case, number: int) -> str:
    """Why no page for signature `number` can sign a case any more, whatever is done about it; "" where it can."""
    newest = case.newest_sign_out
    if number == next_number(case) and is_open_for_reading(case):
        return ""
    if newest is None or number > newest.number:
        return NOT_AMENDING
    return (
        f"{newest.signer_name} signed this case on {timezone.localtime(newest.signed_at):%d %b %Y at %H:%M}, "
        "while you were on this page. Read that report; open an amendment if something is to be changed."
    )


def _checked(
    user: User, case: Case, number: int, shown: Mapping[str, str], addressed: bool, accepted: bool
) -> Check:
    """What is to be signed, or SignOutRefused."""
    closed = overtaken(case=case, number=number)
    if closed:
        raise SignOutRefused(closed)
    found = check(user=user, case=case)
    if not found.is_ready:
        raise SignOutRefused(" ".join(one.sentence for one in found.obstacles))
    changed = report_changes.differing(shown, report_changes.parts(found.content))
    if changed:
        raise SignOutRefused(
            f"The case is no longer as this page showed it: {', '.join(changed)}. Look at it again, then sign."
        )
    if found.unsure and not addressed:
        raise SignOutRefused(
            f"Say in the conclusion what follows from {_images(found.unsure)}, where the reader cannot tell, and "
            "tick that you did.",
            field="addressed",
        )
    if found.failed_but_read and not accepted:
        raise SignOutRefused(
            f"Tick that you sign without an outcome of {_images(found.failed_but_read)}, whose analysis failed.",
            field="accepted",
        )
    return found


def _store(user: User, case: Case, found: Check, number: int, conclusion: str) -> SignOut:
    now = timezone.now()
    content: Content = {**found.content, "conclusion": conclusion, "number": number, "made_at": utc(now)}
    content["status"] = report_content.FINAL if number == 1 else report_content.AMENDED
    content["amendment"] = _amendment(case, content)
    content["signature"] = signature = _signature(user, found, number, now)
    sha256 = report_content.sha256_of(content)
    case.status = content["status"]
    reason = case.amending_reason if number > 1 else ""
    webhooks.note_sign_out(case=case, number=number, content_sha256=sha256)
    audit.record(
        action="sign_out" if number == 1 else "sign_amendment",
        actor=user,
        laboratory=case.laboratory,
        obj=case,
        detail={"number": number, "content_sha256": sha256, **({"reason": reason} if reason else {})},
    )
    sequence, head = audit_chain.head()
    signed = SignOut.objects.create(
        case=case,
        number=number,
        signer=user,
        signer_name=signature["name"],
        signer_role=signature["role"],
        meaning=signature["meaning"],
        conclusion=conclusion,
        reason=reason,
        content=content,
        content_sha256=sha256,
        audit_sequence=sequence,
        audit_head=head,
        signed_at=now,
    )
    case.newest_sign_out = signed
    case.save(update_fields=["status", "newest_sign_out"])
    _close(case)
    return signed


def _amendment(case: Case, content: Content) -> AmendmentPart | None:
    newest = case.newest_sign_out
    if newest is None or case.amending_since is None:
        return None
    told = report_changes.changes(cast(Content, newest.content), content)
    if not told:
        raise SignOutRefused(NOTHING_AMENDED, field="conclusion")
    return AmendmentPart(
        reason=case.amending_reason,
        opened_by=_amender(case),
        opened_at=utc(case.amending_since),
        amends=newest.number,
        amends_sha256=newest.content_sha256,
        amends_signed_at=utc(newest.signed_at),
        amends_signer=newest.signer_name,
        changes=told,
    )


def _signature(user: User, found: Check, number: int, now: datetime.datetime) -> SignaturePart:
    statements = []
    if found.unsure:
        statements.append(f"The conclusion addresses {_images(found.unsure)}, where the reader cannot tell.")
    if found.failed_but_read:
        statements.append(
            f"Signed without an outcome of {_images(found.failed_but_read)}, whose analysis failed."
        )
    return SignaturePart(
        name=f"{user.title} {user.display_name}".strip(),
        username=user.get_username(),
        user_id=user.pk,
        role=user.get_role_display(),
        signed_at=utc(now),
        meaning=MEANING if number == 1 else AMENDED_MEANING,
        statements=statements,
    )


def _close(case: Case) -> None:
    case.amending_since, case.amending_by, case.amending_reason = None, None, ""
    case.save(update_fields=["amending_since", "amending_by", "amending_reason"])
    findings.keep(cases=[case.pk])


def _amender(case: Case) -> str:
    return case.amending_by.display_name if case.amending_by is not None else ""


def _images(refs: tuple[ImageRef, ...]) -> str:
    words = of_images([one.position for one in refs])
    return words[0].lower() + words[1:]


def _text(text: str, most: int, field: str, missing: str) -> str:
    text = text.replace("\x00", "").replace("\r\n", "\n").strip()
    if not text:
        raise SignOutRefused(missing, field=field)
    if len(text) > most:
        raise SignOutRefused(f"Keep the {field} under {most} characters; it has {len(text)}.", field=field)
    return text
