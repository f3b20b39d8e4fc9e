"""Saved views: kept by name, one's own alone, on the worklist and on the history."""

from __future__ import annotations

import pytest
from django.urls import reverse

from diagnosis.models import AuditEvent, SavedView
from diagnosis.services import saved_views
from diagnosis.services.saved_views import ViewRefused, normalised

pytestmark = pytest.mark.django_db


@pytest.fixture
def reader(client, cast):
    client.force_login(cast.hematologist)
    return client


def save(client, **more):
    data = {"page": "history", "name": "Unread ALL", "query": "reading=unread&q=ALL", **more}
    return client.post(reverse("diagnosis:view-save"), data)


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("", ""),
        ("?b=2&a=1", "a=1&b=2"),
        ("a=&b=2&page=7&csrfmiddlewaretoken=x", "b=2"),
        ("q=%C3%A4+b&q=c", "q=c&q=%C3%A4+b"),
    ],
)
def test_a_query_is_kept_without_what_says_nothing(query, kept):
    assert normalised(query) == kept


def test_a_view_is_saved_listed_marked_and_deleted(reader):
    answer = save(reader)
    view = SavedView.objects.get()
    assert (view.page, view.name, view.query) == ("history", "Unread ALL", "q=ALL&reading=unread")
    assert answer["Location"] == f"{reverse('diagnosis:history')}?{view.query}"

    page = reader.get(reverse("diagnosis:history"), {"reading": "unread", "q": "ALL", "page": 1}).text
    assert f'href="?{view.query.replace("&", "&amp;")}" aria-current="page">Unread ALL</a>' in page
    assert "Unread ALL</a>" not in reader.get(reverse("diagnosis:worklist")).text

    reader.post(reverse("diagnosis:view-delete", args=[view.pk]))
    assert not SavedView.objects.exists()
    events = AuditEvent.objects.filter(action__in=["save_view", "delete_view"]).order_by("pk")
    assert [event.action for event in events] == ["save_view", "delete_view"]
    assert "ALL" not in str([event.detail for event in events])


def test_the_same_name_replaces_the_filters(reader):
    save(reader)
    save(reader, name="  Unread   ALL ", query="q=other")
    assert SavedView.objects.get().query == "q=other"


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"name": "   "}, "Give the view a name."),
        ({"name": "x" * 81}, "Keep the name under 80 characters."),
        ({"query": "q=" + "x" * 1001}, "too long to be kept"),
        ({"page": "models"}, "can&#x27;t be saved"),
    ],
)
def test_what_is_refused_comes_back_with_its_sentence(reader, more, sentence):
    answer = save(reader, **more)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert more.get("name", "Unread ALL") in answer.text
    assert not SavedView.objects.exists()


def test_nobody_keeps_more_than_anybody_can_use(reader, cast, monkeypatch):
    monkeypatch.setattr(saved_views, "MOST_VIEWS", 2)
    for name in ("one", "two"):
        save(reader, name=name)
    assert "2 views here already" in save(reader, name="three").text
    assert save(reader, name="two", query="q=again").status_code == 302


def test_views_are_ones_own(client, cast, reader):
    save(reader)
    view = SavedView.objects.get()
    client.force_login(cast.administrator)
    assert "Unread ALL</a>" not in client.get(reverse("diagnosis:history")).text
    assert client.post(reverse("diagnosis:view-delete", args=[view.pk])).status_code == 404
    assert SavedView.objects.exists()
    save(client)
    assert SavedView.objects.count() == 2


def test_a_view_of_the_audit_needs_the_audit(cast):
    with pytest.raises(Exception, match="audit"):
        saved_views.save(user=cast.hematologist, page="audit", name="Logins", query="action=login")
    assert saved_views.save(user=cast.administrator, page="audit", name="Logins", query="action=login")
    with pytest.raises(ViewRefused):
        saved_views.save(user=cast.administrator, page="nonsense", name="x", query="")
