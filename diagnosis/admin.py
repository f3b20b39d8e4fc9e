"""Django's admin site, for accounts and sites; clinical work happens on our own pages, and so does reading the audit:
its page keeps from who reads blind what she has yet to class.
"""

from __future__ import annotations

from typing import Any

import allauth.account.admin
import allauth.mfa.admin
import allauth.socialaccount.admin
import allauth.usersessions.admin  # noqa: F401 - each registers its pages, which are taken off below
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse

from diagnosis import permissions
from diagnosis.models import ModelVersion, Site, User
from diagnosis.services import accounts, audit

admin.site.site_header = admin.site.site_title = "Leukoscope"
admin.site.unregister(Group)  # roles say who may do what
# allauth's tables know no laboratories, and some hold secrets: they are no business of this site.
admin.site.unregister([model for model in admin.site._registry if model.__module__.startswith("allauth.")])


def _columns(obj: Model) -> set[str]:
    """What may stand in the audit: plain columns, and never a password."""
    return {field.name for field in obj._meta.concrete_fields if not field.is_relation} - {"password"}


class OwnLaboratoryAdmin(admin.ModelAdmin):
    """Shows an administrator the rows of her own laboratory; the gate decides, not Django's permissions."""

    action = permissions.MANAGE_ACCOUNTS
    is_editable = True

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).filter(laboratory=request.user.laboratory)

    def _may(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return permissions.can(request.user, self.action, obj)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self._may(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._may(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.is_editable and self._may(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.is_editable and self._may(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False  # rows that others point to are made inactive, never deleted

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            obj.laboratory = request.user.laboratory
        names = [name for name in form.changed_data if name in _columns(obj)]
        before = type(obj).objects.get(pk=obj.pk) if change else None
        super().save_model(request, obj, form, change)
        kind = obj._meta.model_name
        audit.record(
            action=f"change_{kind}" if change else f"create_{kind}",
            actor=request.user,
            laboratory=obj.laboratory,
            obj=obj,
            detail={"fields": sorted(form.changed_data)},
            old={name: getattr(before, name) for name in names} if before is not None else None,
            new={name: getattr(obj, name) for name in names},
        )


@admin.register(User)
class AccountAdmin(OwnLaboratoryAdmin, UserAdmin):
    list_display = ("username", "first_name", "last_name", "role", "is_active", "last_login")
    list_filter = ("role", "is_active")
    search_fields = ("username", "first_name", "last_name", "email")
    ordering = ("username",)
    filter_horizontal = ()
    actions = ("remove_second_factors",)
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("title", "first_name", "last_name", "email")}),
        ("May", {"fields": ("role", "is_active")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (
            None,
            {
                "classes": ("wide",),
                "fields": (
                    "username",
                    "title",
                    "first_name",
                    "last_name",
                    "role",
                    "usable_password",
                    "password1",
                    "password2",
                ),
            },
        ),
    )

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """The role alone decides who may enter this site."""
        obj.is_staff = obj.role == User.Role.ADMINISTRATOR
        if not obj.is_staff:
            obj.is_superuser = False
        super().save_model(request, obj, form, change)

    @admin.action(description="Remove all second factors (lost telephone) and log out everywhere")
    def remove_second_factors(self, request: HttpRequest, queryset: QuerySet) -> None:
        for user in queryset.select_related("laboratory"):
            accounts.remove_second_factors(user=user, actor=request.user)
        self.message_user(request, f"Second factors removed from {len(queryset)} of your accounts.")

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Django's, with an audit event; whoever uses the account is logged out."""
        with transaction.atomic():
            response = super().user_change_password(request, id, form_url)
            if request.method == "POST" and response.status_code == 302:
                user = self.get_object(request, id)
                accounts.end_sessions(sessions=UserSession.objects.filter(user=user))
                audit.record(
                    action="change_password", actor=request.user, laboratory=user.laboratory, obj=user
                )
        return response


@admin.register(Site)
class SiteAdmin(OwnLaboratoryAdmin):
    list_display = ("name",)
    fields = ("name",)


@admin.register(ModelVersion)
class ModelVersionAdmin(OwnLaboratoryAdmin):
    action = permissions.MANAGE_MODELS
    is_editable = False
    list_display = ("name", "task", "status", "registered_at", "activated_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        from diagnosis import model_selectors

        return model_selectors.model_versions(user=request.user)

    def _may(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return permissions.can(request.user, self.action)
