"""URLs of logging in, by the names that allauth asks for; those it has beside these (sign-up, mail) do not exist."""

from __future__ import annotations

from django.urls import URLPattern, path
from django.views.generic import RedirectView

from diagnosis.views.login import LoginView, LogoutView, PasswordChangeView, ReauthenticateView, inactive
from webapp.lazy import lazily

FACTOR = "diagnosis.views.second_factor"
OIDC = "allauth.socialaccount.providers.openid_connect.views"
SOCIAL = "allauth.socialaccount.views"
to_account = RedirectView.as_view(pattern_name="diagnosis:account")

urlpatterns: list[URLPattern] = [
    path("accounts/login", LoginView.as_view(), name="login"),
    path("accounts/login", LoginView.as_view(), name="account_login"),
    path("accounts/logout", LogoutView.as_view(), name="logout"),
    path("accounts/logout", LogoutView.as_view(), name="account_logout"),
    path("accounts/inactive", inactive, name="account_inactive"),
    path("accounts/password", PasswordChangeView.as_view(), name="password-change"),
    path("accounts/again", ReauthenticateView.as_view(), name="account_reauthenticate"),
    path("accounts/again/code", lazily(f"{FACTOR}.reauthenticate"), name="mfa_reauthenticate"),
    path(
        "accounts/again/passkey",
        lazily(f"{FACTOR}.reauthenticate_webauthn"),
        name="mfa_reauthenticate_webauthn",
    ),
    path("accounts/code", lazily(f"{FACTOR}.authenticate"), name="mfa_authenticate"),
    path("accounts/passkey", lazily(f"{FACTOR}.login_webauthn"), name="mfa_login_webauthn"),
    path("accounts/oidc/<slug:provider_id>/login/", lazily(f"{OIDC}.login"), name="openid_connect_login"),
    path(
        "accounts/oidc/<slug:provider_id>/login/callback/",
        lazily(f"{OIDC}.callback"),
        name="openid_connect_callback",
    ),
    path(
        "accounts/oidc/cancelled", lazily(f"{SOCIAL}.login_cancelled"), name="socialaccount_login_cancelled"
    ),
    path("accounts/oidc/error", lazily(f"{SOCIAL}.login_error"), name="socialaccount_login_error"),
    path("account/factors", to_account, name="mfa_index"),
    path("account/app", lazily(f"{FACTOR}.activate_totp"), name="mfa_activate_totp"),
    path("account/app/remove", lazily(f"{FACTOR}.deactivate_totp"), name="mfa_deactivate_totp"),
    path("account/recovery-codes", lazily(f"{FACTOR}.view_recovery_codes"), name="mfa_view_recovery_codes"),
    path(
        "account/recovery-codes/renew",
        lazily(f"{FACTOR}.generate_recovery_codes"),
        name="mfa_generate_recovery_codes",
    ),
    path(
        "account/recovery-codes/download",
        lazily(f"{FACTOR}.download_recovery_codes"),
        name="mfa_download_recovery_codes",
    ),
    path("account/passkeys", to_account, name="mfa_list_webauthn"),
    path("account/passkeys/add", lazily(f"{FACTOR}.add_webauthn"), name="mfa_add_webauthn"),
    path("account/passkeys/<int:pk>/remove", lazily(f"{FACTOR}.remove_webauthn"), name="mfa_remove_webauthn"),
    path("account/passkeys/<int:pk>/rename", lazily(f"{FACTOR}.rename_webauthn"), name="mfa_edit_webauthn"),
]
