"""Django's admin site, for accounts, sites and reading the audit; clinical work happens on our own pages."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from diagnosis import permissions
from diagnosis.models import AuditEvent, Laboratory, ModelVersion, Site, User
from diagnosis.services import audit, sites
from ml.evaluation.acceptance import RULE

LIMITS = {"accepted_sensitivity", "accepted_specificity"}

admin.site.site_header = admin.site.site_title = "Leukoscope"
admin.site.unregister(Group)  # roles say who may do what


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
        super().save_model(request, obj, form, change)
        kind = obj._meta.model_name
        audit.record(
            action=f"change_{kind}" if change else f"create_{kind}",
            actor=request.user,
            laboratory=obj.laboratory,
            obj=obj,
            detail={"fields": sorted(form.changed_data)},
        )


@admin.register(User)
class AccountAdmin(OwnLaboratoryAdmin, UserAdmin):
    list_display = ("username", "first_name", "last_name", "role", "is_active", "last_login")
    list_filter = ("role", "is_active")
    search_fields = ("username", "first_name", "last_name", "email")
    ordering = ("username",)
    filter_horizontal = ()
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
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


@admin.register(Site)
class SiteAdmin(OwnLaboratoryAdmin):
    list_display = ("name",)
    fields = ("name",)


@admin.register(Laboratory)
class LaboratoryAdmin(OwnLaboratoryAdmin):
    list_display = ("name", "slug", "accepted_sensitivity", "accepted_specificity")
    fieldsets = (
        (None, {"fields": ("name",)}),
        (
            "Acceptance limits",
            {
                "fields": ("accepted_sensitivity", "accepted_specificity"),
                "description": "What a model must prove on labelled images of a site, as shares from 0 to 1. "
                f"{RULE}",
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return admin.ModelAdmin.get_queryset(self, request).filter(pk=request.user.laboratory_id)

    def _may(self, request: HttpRequest, obj: Model | None = None) -> bool:
        is_own = obj is None or obj.pk == request.user.laboratory_id
        return is_own and permissions.can(request.user, self.action)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if LIMITS & set(form.changed_data):
            sites.set_limits(
                laboratory=Laboratory.objects.get(pk=obj.pk),
                sensitivity=obj.accepted_sensitivity,
                specificity=obj.accepted_specificity,
                actor=request.user,
            )
        if "name" in form.changed_data:
            admin.ModelAdmin.save_model(self, request, obj, form, change)
            audit.record(action="change_laboratory", actor=request.user, laboratory=obj, obj=obj)


@admin.register(ModelVersion)
class ModelVersionAdmin(OwnLaboratoryAdmin):
    action = permissions.MANAGE_MODELS
    is_editable = False
    list_display = ("name", "task", "status", "registered_at", "activated_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        from diagnosis import selectors

        return selectors.model_versions(user=request.user)

    def _may(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return permissions.can(request.user, self.action)


@admin.register(AuditEvent)
class AuditEventAdmin(OwnLaboratoryAdmin):
    is_editable = False
    list_display = ("at", "actor", "action", "object_type", "object_id")
    list_filter = ("action",)
    date_hierarchy = "at"
    search_fields = ("object_id", "actor__username")
    list_select_related = ("actor",)
