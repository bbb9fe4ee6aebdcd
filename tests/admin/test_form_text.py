"""Texts typed into forms: no control characters, and lines only where there are several."""

import pytest
from django import forms
from django.urls import reverse

from tests.admin.pages import log_in
from tests.admin.scene import Scene
from workorders.models import WorkOrder


class OneLine(forms.Form):
    text = forms.CharField()


class SeveralLines(forms.Form):
    text = forms.CharField(widget=forms.Textarea)


@pytest.mark.parametrize(
    "text", ["a\x1b[31mb", "a\x00b", "a\x7fb", "a\u202eb", "a\u2028b", "a\x85b"]
)
def test_control_characters(text: str) -> None:
    assert not OneLine({"text": text}).is_valid()
    assert not SeveralLines({"text": text}).is_valid()


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\tb"])
def test_lines(text: str) -> None:
    assert not OneLine({"text": text}).is_valid()
    assert SeveralLines({"text": text}).is_valid()


@pytest.mark.parametrize("title", ["one\r\ntwo", "red \x1b[31m", "bell\x07"])
def test_a_title_in_the_admin(scene: Scene, title: str) -> None:
    client = log_in(scene, "operations")
    data = {"title": title, "id": "w9", "max_concurrent_runs": "2"}
    page = client.post(reverse("admin:workorders_workorder_add"), data)
    assert page.status_code == 200
    assert "Remove control characters" in page.content.decode()
    assert not WorkOrder.objects.filter(pk="w9").exists()
    url = reverse("admin:workorders_workorder_settings", args=["w1"])
    assert client.post(url, {"title": title}).status_code == 200
    assert WorkOrder.objects.get(pk="w1").title == scene.work_order.title
