"""Where allauth asks us: who may log in, how guesses are counted, what is recorded, whom a provider vouches for."""

from __future__ import annotations

import base64
import functools
import hashlib
import logging
import secrets
import time
from datetime import timedelta
from typing import Any

from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import render
from django.utils import timezone

from diagnosis.models import User
from diagnosis.services import accounts, audit, audit_origin, guessing

logger = logging.getLogger(__name__)


def client_address(request: HttpRequest) -> str:
    """Where a request comes from, as the audit knows it."""
    origin = audit_origin.current()
    return (origin.address if origin else None) or str(request.META.get("REMOTE_ADDR", ""))


def too_many(wait: int) -> str:
    """The sentence for someone held back for so many seconds."""
    minutes = -(-wait // 60)
    return (
        f"Too many failed logins to this account: try again in {minutes} minute{'' if minutes == 1 else 's'}."
    )


class AccountAdapter(DefaultAccountAdapter):
    """No sign-up and no mail; our brake on guessing; every login an audit event; a session ends after a shift."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request)

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        wait = guessing.seconds_to_wait(username=credentials["username"], address=client_address(request))
        if wait:
            raise ValidationError(too_many(wait))

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Any:
        user = super().authenticate(request, **credentials)
        if user is not None:
            guessing.forget_failures(username=credentials["username"], address=client_address(request))
        return user

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        guessing.record_failure(username=credentials["username"], address=client_address(request))

    def is_reauthentication_required(self, *, app: str, **more: Any) -> bool:
        """Not of someone who proved who she is a few minutes ago, be it at the log-in page."""
        records = get_authentication_records(self.request, self.request.user)
        is_fresh = bool(records) and time.time() - records[-1]["at"] < app_settings.REAUTHENTICATION_TIMEOUT
        return not is_fresh and super().is_reauthentication_required(app=app, **more)

    def login(self, request: HttpRequest, user: Any) -> None:
        with transaction.atomic():
            super().login(request, user)
            # The end of a session stays where it is, however often it is written to.
            request.session.set_expiry(timezone.now() + timedelta(seconds=settings.SESSION_COOKIE_AGE))
            audit.record(
                action="login",
                actor=user,
                laboratory=user.laboratory,
                obj=user,
                detail={"with": _ways(get_authentication_records(request, user))},
            )


def _ways(records: list[dict[str, Any]]) -> list[str]:
    """What someone proved herself with: password, totp, recovery_codes, webauthn, the name of a provider."""
    return [str(record.get("type") or record.get("provider") or record["method"]) for record in records]


class SecondFactorAdapter(DefaultMFAAdapter):
    """Seeds encrypted under a key that lies outside the database; no last factor goes where one is compulsory."""

    def encrypt(self, text: str) -> str:
        return str(_cipher(settings.SECRET_KEY).encrypt(text.encode()).decode())

    def decrypt(self, encrypted_text: str) -> str:
        from cryptography.fernet import InvalidToken

        for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
            try:
                return str(_cipher(key).decrypt(encrypted_text.encode()).decode())
            except InvalidToken:
                continue
        logger.error(
            "A second factor can't be read: LEUKOSCOPE_SECRET_KEY is another one than when it was set up."
        )
        # A seed nobody knows: no code ever fits it, and an administrator can take the factor away.
        return base64.b32encode(secrets.token_bytes(20)).decode()

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        is_needed = authenticator.user.laboratory.needs_second_factor
        return not (is_needed and accounts.is_last_second_factor(authenticator=authenticator))

    def get_totp_label(self, user: Any) -> str:
        return str(user.username)

    def generate_authenticator_name(self, user: Any, type: Any) -> str:
        count = Authenticator.objects.filter(user_id=user.pk, type=type).count()
        return f"Passkey {count + 1}"

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        return {**super().get_public_key_credential_rp_entity(), "name": "Leukoscope"}

    def get_public_key_credential_user_entity(self, user: Any) -> dict[str, Any]:
        entity: dict[str, Any] = super().get_public_key_credential_user_entity(user)
        return {**entity, "display_name": user.display_name, "name": user.username}


@functools.lru_cache(maxsize=4)
def _cipher(secret: str) -> Any:
    # Imported here: a web process that nobody shows a second factor does without.
    from cryptography.fernet import Fernet

    key = hashlib.blake2b(b"second factors", key=hashlib.sha256(secret.encode()).digest(), digest_size=32)
    return Fernet(base64.urlsafe_b64encode(key.digest()))


class SingleSignOnAdapter(DefaultSocialAccountAdapter):
    """An identity is known already, or its verified address is that of one account, or it may have a new account."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return False

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        if sociallogin.state.get("process") != "login":
            raise ImmediateHttpResponse(self._refusal(request, "Accounts are connected by logging in."))
        if sociallogin.is_existing:
            return
        try:
            with transaction.atomic():
                user = self._account_for(sociallogin)
                sociallogin.connect(request, user)
                audit.record(
                    action="connect_identity",
                    actor=user,
                    laboratory=user.laboratory,
                    obj=user,
                    detail={"provider": sociallogin.account.provider, "identity": sociallogin.account.uid},
                )
        except accounts.AccountRefused as refusal:
            raise ImmediateHttpResponse(self._refusal(request, str(refusal))) from refusal

    def on_authentication_error(self, request: HttpRequest, provider: Any, **more: Any) -> None:
        logger.warning("Single sign-on failed: %s", more.get("exception") or more.get("error"))

    def _account_for(self, sociallogin: Any) -> User:
        extra = sociallogin.account.extra_data
        claims = extra.get("userinfo") or extra.get("id_token") or extra
        email = str(claims.get("email") or "")
        is_verified = claims.get("email_verified") in (True, "true")
        user = accounts.find_by_verified_email(email=email) if is_verified else None
        if user is not None:
            return user
        provider = settings.LEUKOSCOPE_SINGLE_SIGN_ON
        if provider is None or not provider.laboratory:
            who = email or claims.get("preferred_username") or claims.get("sub")
            raise accounts.AccountRefused(
                f"No account belongs to {who}. Ask an administrator to make one with your verified e-mail address."
            )
        return accounts.create_from_single_sign_on(
            laboratory=provider.laboratory,
            role=provider.role,
            username=str(claims.get("preferred_username") or claims.get("sub") or ""),
            first_name=str(claims.get("given_name") or ""),
            last_name=str(claims.get("family_name") or ""),
            # An address that nobody verified must not lead the next one who claims it into this account.
            email=email if is_verified else "",
            provider=provider.name,
        )

    def _refusal(self, request: HttpRequest, sentence: str) -> Any:
        return render(request, "socialaccount/authentication_error.html", {"sentence": sentence}, status=403)
