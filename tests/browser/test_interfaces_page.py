"""The page of interfaces in Chromium: a token made by keyboard and used, a webhook, and a telephone's width."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import expect

from diagnosis.models import ApiToken, Webhook
from tests.browser.conftest import Person

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_broker"),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_tokens_and_webhooks_are_made_on_a_telephone_too(
    sit_down: Callable[..., Person], cast: Any, scheme: str
) -> None:
    ada = sit_down(cast.administrator, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = ada.page
    ada.goto("/laboratory/interfaces")
    page.get_by_text("New token…").click()
    page.get_by_role("textbox", name="Name").fill("Scanner 1")
    page.get_by_label("Acts in the name of").select_option(label="Tina Technician")
    page.get_by_label("cases:read").check()
    page.get_by_label("Expires after (days)").press("Enter")

    expect(page.get_by_role("heading", name="The token Scanner 1 is made")).to_be_visible()
    key = page.locator(".secret").inner_text()
    assert re.fullmatch(r"lk_[\w-]{43}", key)
    assert Client().get("/api/v1/cases", headers={"Authorization": f"Bearer {key}"}).status_code == 200

    page.get_by_text("New webhook…").click()
    page.get_by_label("Address").fill("https://lis.example/hook")
    page.get_by_role("button", name="Add the webhook").click()
    expect(page.locator(".secret")).to_contain_text("whsec_")
    assert Webhook.objects.get().events == ["case.amended", "case.analysed", "case.signed_out"]

    page.get_by_role("button", name="Send a test to https://lis.example/hook").click()
    expect(page.locator("#deliveries tbody tr")).to_contain_text("waiting")
    page.get_by_role("button", name="Take back Scanner 1").click()
    expect(page.get_by_text("lets nobody in any more")).to_be_visible()
    assert ApiToken.objects.get().revoked_at is not None
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, width
