"""Agents: registered, described, switched off."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.http import HttpRequest
from django.utils import timezone
from unfold.widgets import UnfoldAdminTextInputWidget

from opslog.admin.base import KeptAdmin, badge
from workorders import agents
from workorders.models import Agent


@admin.register(Agent)
class AgentAdmin(KeptAdmin):
    list_display = ("name", "description", "state", "created_at")
    list_filter = ("is_active",)
    search_fields = ("name", "description")
    search_help_text = "a name, or words of the description"
    list_before_template = "workorders/unknown_agents.html"
    change_form_before_template = "workorders/agent_note.html"
    fields = ("name", "description", "is_active")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("name",) if obj else ()

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in ("name", "description"):
            kwargs["widget"] = UnfoldAdminTextInputWidget()
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        return {"unknown_agents": agents.unknown_lately(timezone.now())}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        agents.save(obj, new=not change, by=request.user.get_username())

    @display(description="state")
    def state(self, agent: Agent) -> str:
        return badge("live", "active") if agent.is_active else badge("cancelled", "off")
