"""Names that people can have, and names that look alike."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from budgets import accounts
from budgets.accounts import names
from budgets.exceptions import Refused
from budgets.models import FormerName
from opslog.models import OperationsEvent
from tests.access.walking import logged_in
from tests.accounts.house import House

GOOD = (
    *(
        "ops2",
        "mary-jane",
        "j.o'neil",
        "Jürgen Müller",
        "Lê Nguyễn",
        "Данила",
        "Αθηνά",
        "김철수 Kim",
    ),
    *("山田たろう", "a_b+c@example.com"),
)


@pytest.mark.parametrize("name", GOOD)
def test_names_of_people_are_names(name: str) -> None:
    assert names.problem(name) == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("орs2", "mixes Cyrillic and Latin"),
        ("οps", "mixes Greek and Latin"),
        ("ops2\u200b", "cannot be seen"),
        ("ops\u00ad2", "cannot be seen"),
        ("\u202eops2", "cannot be seen"),
        ("ops\u2066", "cannot be seen"),
        ("ops2\ufe0f", "cannot be seen"),
        ("ops\u3164", "cannot be seen"),
        ("ops\n2", "cannot be seen"),
        ("ops\x1b[31m", "cannot be seen"),
        ("ops\u00a02", "cannot be seen"),
        ("o\u0308\u0301\u0302\u0303ps", "too many marks"),
        ("ops\u0662", "Digits are 0 to 9"),
    ],
)
def test_what_deceives_is_refused_in_every_name(name: str, message: str) -> None:
    assert message in names.problem(name)
    assert message in names.username_problem(name)


@pytest.mark.parametrize("name", ["орѕ", "сор", "ᴏps", "ıps"])
def test_a_username_looks_like_nothing_else(name: str) -> None:
    assert "look" in names.username_problem(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ops2", "OPS2"),
        ("ops2", "ｏｐｓ２"),
        ("ops", "0ps"),
        ("admin1", "adminl"),
        ("mary", "rnary"),
        ("finance", "ﬁnance"),
        ("ALI", "ali"),
        ("ops", "орѕ"),
    ],
)
def test_names_that_look_alike(one: str, other: str) -> None:
    assert names.alike(one, ["somebody", other]) == other
    assert names.alike(other, [one]) == one


@pytest.mark.parametrize(("one", "other"), [("ops", "ops2"), ("ali", "all"), ("ann", "anna")])
def test_names_that_do_not(one: str, other: str) -> None:
    assert names.alike(one, [other]) == ""


@pytest.mark.parametrize(
    "name", ["орs2", "ops2\u200b", "ｏｐｓ２", "OPS2", "ops2", "ops2 ", "0ps2", "\u202eops2"]
)
def test_the_form_takes_no_second_ops2(house: House, name: str) -> None:
    """New people, and people who get another name."""
    client = logged_in(house["ann"])
    before = set(User.objects.values_list("username", flat=True))
    assert client.post(reverse("admin:auth_user_add"), {"username": name}).status_code == 200
    url = reverse("admin:auth_user_change", args=[house["finance"].pk])
    data = {"username": name, "email": "finance@example.com", "is_active": "on", "is_staff": "on"}
    assert client.post(url, data).status_code == 200
    assert set(User.objects.values_list("username", flat=True)) == before


@pytest.mark.parametrize("field", ["first_name", "last_name", "email"])
def test_nor_does_it_take_other_texts_that_deceive(house: House, field: str) -> None:
    client = logged_in(house["ann"])
    wrong = {"email": "finаnce@example.com"}.get(field, "Fin\u202eance")
    answer = client.post(reverse("admin:auth_user_add"), {"username": "newcomer", field: wrong})
    assert answer.status_code == 200
    assert not User.objects.filter(username="newcomer").exists()


def test_a_name_once_used_is_not_given_again(house: House) -> None:
    ann, finance = house["ann"], house["finance"]
    accounts.change(finance.pk, by=ann, values={"username": "fiona"})
    event = OperationsEvent.objects.filter(kind="USER_CHANGED").latest("id")
    assert event.meta["changes"] == {"username": {"old": "finance", "new": "fiona"}}
    assert event.owner_id == str(finance.pk)
    assert FormerName.objects.get().name == "finance"
    for name in ("finance", "Finance", "ｆinance"):
        with pytest.raises(Refused, match="somebody else had"):
            accounts.create(by=ann, values={"username": name}, groups=set())
        with pytest.raises(Refused, match="somebody else had"):
            accounts.change(house["ops"].pk, by=ann, values={"username": name})
    accounts.change(finance.pk, by=ann, values={"username": "finance"})  # it is still theirs
    with pytest.raises(Refused, match="had"):
        accounts.create(by=ann, values={"username": "fiona"}, groups=set())
