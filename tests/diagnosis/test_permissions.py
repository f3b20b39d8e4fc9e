"""Who may see and do what, as tables."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import Http404

from diagnosis import permissions
from diagnosis.permissions import MANAGE_ACCOUNTS, MANAGE_MODELS, RETRY, REVIEW, UPLOAD, VIEW

pytestmark = pytest.mark.django_db

# action: technician, hematologist, administrator
MAY = {
    VIEW: (True, True, True),
    UPLOAD: (True, True, True),
    RETRY: (True, True, True),
    REVIEW: (False, True, True),
    MANAGE_MODELS: (False, False, True),
    MANAGE_ACCOUNTS: (False, False, True),
}
ROLES = ("technician", "hematologist", "administrator")
TABLE = [
    (role, action, allowed) for action, row in MAY.items() for role, allowed in zip(ROLES, row, strict=True)
]


@pytest.mark.parametrize(("who", "action", "allowed"), TABLE)
def test_a_role_may_do_what_the_table_says(cast, case, who, action, allowed):
    assert permissions.can(cast[who], action) is allowed
    assert permissions.can(cast[who], action, case) is allowed
    if allowed:
        permissions.require(cast[who], action, case)
    else:
        with pytest.raises(PermissionDenied):
            permissions.require(cast[who], action, case)


@pytest.mark.parametrize("action", MAY)
def test_an_outsider_finds_nothing(cast, case, image, action):
    for obj in (case, image, image.newest_analysis):
        assert permissions.can(cast.outsider, action, obj) is False
        with pytest.raises(Http404):
            permissions.require(cast.outsider, action, obj)


@pytest.mark.parametrize("action", MAY)
def test_who_is_inactive_or_not_logged_in_may_nothing(cast, case, action):
    assert permissions.can(AnonymousUser(), action, case) is False
    cast.administrator.is_active = False
    assert permissions.can(cast.administrator, action, case) is False
    with pytest.raises(PermissionDenied):
        permissions.require(cast.administrator, action, case)


def test_a_role_that_does_not_exist_may_nothing(cast, case):
    cast.technician.role = "visitor"
    assert permissions.can(cast.technician, VIEW, case) is False


def test_an_action_that_does_not_exist_is_a_mistake_of_ours(cast):
    with pytest.raises(KeyError):
        permissions.can(cast.administrator, "fly")


def test_a_superuser_of_another_laboratory_is_an_outsider_all_the_same(cast, case):
    cast.outsider.is_superuser = True
    cast.outsider.role = "administrator"
    assert permissions.can(cast.outsider, VIEW, case) is False


@pytest.mark.parametrize(
    ("who", "action", "outcome"),
    [
        ("technician", VIEW, None),
        ("hematologist", REVIEW, None),
        ("technician", REVIEW, PermissionDenied),
        ("outsider", VIEW, Http404),
        ("outsider", REVIEW, Http404),
    ],
)
def test_getting_a_case_or_an_image(cast, case, image, who, action, outcome):
    if outcome is None:
        assert permissions.get_case_for(cast[who], case.pk, action) == case
        assert permissions.get_image_for(cast[who], image.pk, action) == image
        return
    with pytest.raises(outcome):
        permissions.get_case_for(cast[who], case.pk, action)
    with pytest.raises(outcome):
        permissions.get_image_for(cast[who], image.pk, action)


def test_what_does_not_exist_is_not_found(cast, case):
    with pytest.raises(Http404):
        permissions.get_case_for(cast.administrator, case.pk + 1)
    with pytest.raises(Http404):
        permissions.get_image_for(cast.administrator, "00000000-0000-0000-0000-000000000000")
