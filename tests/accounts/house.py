"""The people of a house with two administrators and a superuser."""

from django.contrib.auth.models import User

from tests import factories

House = dict[str, User]
GROUPS = {
    "ann": "administrator",
    "bob": "administrator",
    "ops": "operations",
    "ops2": "operations",
    "finance": "finance",
    "vp": "vp",
}


def people() -> House:
    found = {
        name: factories.make_user(name, groups=[group], is_staff=True, email=f"{name}@example.com")
        for name, group in GROUPS.items()
    }
    found["root"] = factories.make_user(
        "root", is_staff=True, is_superuser=True, email="root@example.com"
    )
    return found
