"""The addresses under `/account/`. What is missing of allauth's is missing on purpose."""

from allauth.account import views as account
from allauth.mfa.base import views as factors
from allauth.mfa.recovery_codes import views as recovery_codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as webauthn
from allauth.socialaccount import views as social
from allauth.usersessions import views as sessions
from django.conf import settings
from django.db import transaction
from django.urls import path

from config.environment import issuer_id
from config.sign_in import views

# A factor and its event commit together.
whole = transaction.atomic
issuer = {"provider_id": issuer_id(settings.TOLLGATE_OIDC_ISSUER)}

urlpatterns = [
    path("login/", views.SignInView.as_view(), name="account_login"),
    path("login/passkey/", views.sign_in_by_passkey, name="mfa_login_webauthn"),
    path("login/code/", factors.authenticate, name="mfa_authenticate"),
    path("logout/", account.logout, name="account_logout"),
    path("inactive/", account.account_inactive, name="account_inactive"),
    path("password/", account.password_change, name="account_change_password"),
    path("sessions/", sessions.list_usersessions, name="usersessions_list"),
    path("confirm/", account.reauthenticate, name="account_reauthenticate"),
    path("confirm/code/", factors.reauthenticate, name="mfa_reauthenticate"),
    path("confirm/passkey/", webauthn.reauthenticate_webauthn, name="mfa_reauthenticate_webauthn"),
    path("confirm/sso/", views.confirm_by_sso, name="account_confirm_by_sso"),
    path("confirm/sso/done/", views.confirmed_by_sso, name="account_confirmed_by_sso"),
    path("factors/", factors.index, name="mfa_index"),
    path("factors/app/add/", whole(totp.activate_totp), name="mfa_activate_totp"),
    path("factors/app/remove/", whole(totp.deactivate_totp), name="mfa_deactivate_totp"),
    path(
        "factors/recovery-codes/",
        whole(recovery_codes.view_recovery_codes),
        name="mfa_view_recovery_codes",
    ),
    path(
        "factors/recovery-codes/new/",
        whole(recovery_codes.generate_recovery_codes),
        name="mfa_generate_recovery_codes",
    ),
    path("factors/passkeys/", webauthn.list_webauthn, name="mfa_list_webauthn"),
    path("factors/passkeys/add/", whole(webauthn.add_webauthn), name="mfa_add_webauthn"),
    path(
        "factors/passkeys/<int:pk>/remove/",
        whole(webauthn.remove_webauthn),
        name="mfa_remove_webauthn",
    ),
    path("factors/passkeys/<int:pk>/", whole(webauthn.edit_webauthn), name="mfa_edit_webauthn"),
    path("sso/", views.single_sign_on, name="single_sign_on"),
    path("sso/callback/", views.back_from_provider, issuer, name="openid_connect_callback"),
    path("sso/cancelled/", social.login_cancelled, name="socialaccount_login_cancelled"),
]
