from django.urls import path, register_converter

from workorders.api import views


class WorkOrderIdConverter:
    """Exactly the ids that the table allows."""

    regex = "[A-Za-z0-9][A-Za-z0-9._:-]{0,99}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(WorkOrderIdConverter, "wo")

urlpatterns = [
    path("work-orders", views.WorkOrderList.as_view(), name="work-orders"),
    path("work-orders/<wo:wo_id>", views.WorkOrderDetail.as_view(), name="work-order"),
    path("work-orders/<wo:wo_id>/runs", views.RunList.as_view(), name="work-order-runs"),
]
