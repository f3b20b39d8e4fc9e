"""Interfaces: the tokens other systems use, the addresses that are told of events, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from diagnosis import interface_selectors, permissions
from diagnosis.forms import DescribedForm
from diagnosis.models import ApiToken, User, Webhook, WebhookDelivery
from diagnosis.services import api_tokens, webhooks
from diagnosis.services.api_tokens import TokenRefused
from diagnosis.services.webhooks import WebhookRefused
from diagnosis.views.access import signed_in

A_PAGE = 50


class TokenForm(DescribedForm):
    """A new token. What is taken is for the service to say."""

    name = forms.CharField(
        max_length=80,
        required=False,
        help_text="What uses it, as the scanner's name.",
        widget=forms.TextInput({"autocomplete": "off"}),
    )
    user = forms.ModelChoiceField(
        queryset=User.objects.none(),
        required=False,
        empty_label=None,
        label="Acts in the name of",
        help_text="It may never do more than this account.",
    )
    days = forms.IntegerField(
        required=False,
        label="Expires after (days)",
        help_text="Empty: never.",
        widget=forms.NumberInput({"min": 1}),
    )
    scopes = forms.MultipleChoiceField(
        choices=[(name, f"{name}: {what}") for name, what in api_tokens.SCOPES.items()],
        required=False,
        label="May",
        widget=forms.CheckboxSelectMultiple,
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, auto_id="token-%s", **kwargs)
        self.fields["user"].queryset = interface_selectors.people(user=user)  # type: ignore[attr-defined]


class WebhookForm(DescribedForm):
    """A new webhook."""

    url = forms.CharField(
        max_length=500,
        required=False,
        label="Address",
        widget=forms.TextInput(
            {"type": "url", "placeholder": "https://lis.example/leukoscope", "autocomplete": "off"}
        ),
    )
    events = forms.MultipleChoiceField(
        choices=[(name, f"{name}: {what}") for name, what in webhooks.EVENTS.items()],
        required=False,
        label="Tell it when",
        widget=forms.CheckboxSelectMultiple,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, auto_id="webhook-%s", **kwargs)


@require_safe
@signed_in
def interfaces(request: HttpRequest) -> HttpResponseBase:
    """Tokens, webhooks and deliveries of the laboratory."""
    permissions.require(request.user, permissions.MANAGE_LABORATORY)
    return _page(request)


@require_POST
@signed_in
def token_create(request: HttpRequest) -> HttpResponseBase:
    """Make a token, and show its key this once."""
    permissions.require(request.user, permissions.MANAGE_LABORATORY)

    def make(given: dict[str, Any]) -> tuple[ApiToken, str]:
        return api_tokens.create(
            actor=request.user,
            user=given["user"] or request.user,
            name=given["name"],
            scopes=given["scopes"],
            days=given["days"],
        )

    form = TokenForm(request.POST, user=request.user)
    return _made(request, form, make, form_name="token_form", shown=("new_token", "new_key"))


@require_POST
@signed_in
def token_revoke(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Take a token back."""
    token = permissions.get_token_for(request.user, pk)
    if api_tokens.revoke(actor=request.user, token=token):
        messages.success(request, f"The token {token.name} is taken back: it lets nobody in any more.")
    return _back()


@require_POST
@signed_in
def webhook_create(request: HttpRequest) -> HttpResponseBase:
    """Add a webhook, and show its secret this once."""
    permissions.require(request.user, permissions.MANAGE_LABORATORY)

    def make(given: dict[str, Any]) -> tuple[Webhook, str]:
        return webhooks.create(user=request.user, **given)

    return _made(
        request,
        WebhookForm(request.POST),
        make,
        form_name="webhook_form",
        shown=("new_webhook", "new_secret"),
    )


@require_POST
@signed_in
def webhook_remove(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Tell an address nothing more."""
    webhook = permissions.get_webhook_for(request.user, pk)
    if webhooks.remove(user=request.user, webhook=webhook):
        messages.success(request, f"{webhook.url} is told nothing more.")
    return _back()


@require_POST
@signed_in
def webhook_test(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send an address a delivery that says it is a test."""
    webhook = permissions.get_webhook_for(request.user, pk)

    def send() -> str:
        webhooks.send_test(user=request.user, webhook=webhook)
        return "A test goes out within some seconds: look at it below."

    return _sent(request, send)


@require_POST
@signed_in
def delivery_retry(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Have a delivery sent once more."""
    delivery = permissions.get_delivery_for(request.user, pk)

    def send() -> str:
        again = webhooks.try_again(user=request.user, delivery=delivery)
        return "It is sent again within some seconds." if again else "It was delivered."

    return _sent(request, send)


def _made(
    request: HttpRequest,
    form: forms.Form,
    make: Callable[[dict[str, Any]], tuple[Any, str]],
    *,
    form_name: str,
    shown: tuple[str, str],
) -> HttpResponse:
    """Make what a form asks for, and show it with its secret: the answer is the page itself, and no copy of the secret
    is kept. What can't be made is said on the form, with all that was typed.
    """
    if form.is_valid():
        try:
            made = make(form.cleaned_data)
        except (TokenRefused, WebhookRefused) as refusal:
            form.add_error(None, str(refusal))
        else:
            return _page(request, status=201, **dict(zip(shown, made, strict=True)))
    return _page(request, status=422, **{form_name: form})


def _sent(request: HttpRequest, send: Callable[[], str]) -> HttpResponseRedirect:
    """Have something sent, say what `send` says of it or why it is refused, and go to where deliveries are seen."""
    try:
        messages.success(request, send())
    except WebhookRefused as refusal:
        messages.warning(request, str(refusal))
    return _back("#deliveries")


def _page(request: HttpRequest, status: int = 200, **more: Any) -> HttpResponse:
    user = request.user
    state = request.GET.get("state", "")
    state = state if state in WebhookDelivery.State.values else ""
    deliveries = Paginator(interface_selectors.deliveries(user=user, state=state), A_PAGE)
    context = {
        "section": "laboratory",
        "tokens": interface_selectors.tokens(user=user),
        "token_form": TokenForm(user=user, initial={"user": user.pk}),
        "webhooks": interface_selectors.webhooks(user=user),
        "webhook_form": WebhookForm(initial={"events": list(webhooks.EVENTS)}),
        "page": deliveries.get_page(request.GET.get("page")),
        "state": state,
        "states": WebhookDelivery.State.choices,
        "operations": interface_selectors.operations(),
        **more,
    }
    return render(request, "diagnosis/interfaces.html", context, status=status)


def _back(where: str = "") -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse("diagnosis:interfaces") + where)
