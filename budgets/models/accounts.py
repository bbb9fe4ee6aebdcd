"""Who decides since when, what a second administrator must confirm, and how people get in.

The accounts and groups themselves are Django's. What is here makes sure that nobody becomes
another person, or two people, alone.
"""

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class AccountRule(models.Model):
    """How long a new member of a group waits before they count. The newest row is in force.

    Append-only.
    """

    waiting_hours = models.SmallIntegerField()
    reason = models.TextField()
    by = models.TextField()
    at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "account_rules"
        default_permissions = ()
        constraints = (
            models.CheckConstraint(
                condition=Q(waiting_hours__range=(0, 720)) & ~Q(reason=""),
                name="account_rules_sane",
            ),
        )

    def __str__(self) -> str:
        return f"{self.waiting_hours} h"


class SoloOperatorRule(models.Model):
    """Whether one person alone may sign for themselves, and after how long. The newest row counts;
    without one they may not.

    Append-only, and the owner's: the application's role only reads it. `tollgate.solo_operator`
    says when it is in force.
    """

    enabled = models.BooleanField()
    waiting_minutes = models.SmallIntegerField()
    reason = models.TextField()
    by = models.TextField()
    at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "solo_operator_rules"
        default_permissions = ()
        constraints = (
            models.CheckConstraint(
                # Long enough to think again, and over before a request expires.
                condition=Q(waiting_minutes__range=(15, 1200)) & ~Q(reason=""),
                name="solo_operator_rules_sane",
            ),
        )

    def __str__(self) -> str:
        return f"{'on' if self.enabled else 'off'}, {self.waiting_minutes} min"


class Membership(models.Model):
    """Since when somebody is in a group, and from when on that counts.

    Being in a group is Django's row; that it was given by two people is this one. A member without
    it does not count, whatever put them there. It is removed when the person leaves the group.
    """

    class How(models.TextChoices):
        CONFIRMED = "confirmed", "confirmed by a second administrator"
        COMMAND = "command", "by command, without a second administrator"
        FREE = "free", "the group only reads"
        BEFORE = "before", "before memberships were recorded, or with the demo"

    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="memberships"
    )
    group = models.ForeignKey(Group, on_delete=models.PROTECT, related_name="memberships")
    how = models.TextField(choices=How)
    since = models.DateTimeField(db_default=Now(), editable=False)
    counts_from = models.DateTimeField()

    class Meta:
        db_table = "memberships"
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=("person", "group"), name="memberships_once"),
            models.CheckConstraint(
                condition=Q(how__in=("confirmed", "command", "free", "before")),
                name="memberships_how",
            ),
        )

    def __str__(self) -> str:
        return f"{self.person} in {self.group}"


class AccountChange(models.Model):
    """What one administrator wants to change about somebody, and another must confirm.

    pending ──▶ confirmed | refused | expired | stale      (all four are final)

    confirmed: by an administrator who is neither the proposer nor the person, or by command where
    there is none; what single sign-on proposes, by any administrator but the person. refused: by
    any administrator, the proposer too. expired: after seven days, found under the lock. stale:
    the person has another name or address by now than when it was proposed.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "waiting for a second administrator"
        CONFIRMED = "confirmed", "confirmed"
        REFUSED = "refused", "refused"
        EXPIRED = "expired", "expired"
        STALE = "stale", "stale"

    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="account_changes"
    )
    wanted = models.JSONField(
        help_text="Any of groups (names to join), is_active, is_staff, is_superuser, email, link."
    )
    seen_username = models.TextField()
    seen_email = models.TextField(blank=True)
    status = models.TextField(choices=Status, default=Status.PENDING)
    proposed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Empty: single sign-on, by the groups it says the person is in.",
    )
    proposed_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, editable=False)
    closing_note = models.TextField(db_default="", editable=False)

    class Meta:
        db_table = "account_changes"
        verbose_name = "account change"
        ordering = ("-id",)
        default_permissions = ("view",)
        constraints = (
            models.UniqueConstraint(
                fields=("person",),
                condition=Q(status="pending"),
                name="account_changes_one_open",
            ),
            models.CheckConstraint(
                condition=Q(status="pending", decided_at=None)
                | (~Q(status="pending") & Q(decided_at__isnull=False)),
                name="account_changes_decided",
            ),
            models.CheckConstraint(
                condition=Q(status__in=("pending", "confirmed", "refused", "expired", "stale")),
                name="account_changes_status",
            ),
            # Four eyes, whatever the code says. Confirmed by command: nobody's name stands here.
            models.CheckConstraint(
                condition=~Q(status="confirmed")
                | Q(decided_by=None)
                | (~Q(decided_by=F("proposed_by")) & ~Q(decided_by=F("person"))),
                name="account_changes_four_eyes",
            ),
        )

    def __str__(self) -> str:
        return f"#{self.pk} {self.seen_username}"

    @property
    def proposer(self) -> str:
        return self.proposed_by.get_username() if self.proposed_by else "single sign-on"


class AccountLink(models.Model):
    """A link by which one person sets their own password, once.

    The link itself is stored nowhere: it is made from this row and the secret key when it is sent.
    """

    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="account_links"
    )
    sent_to = models.TextField(blank=True, help_text="Empty: printed by a command.")
    issued_by = models.TextField()
    issued_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    replaced_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "account_links"
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(
                fields=("person",),
                condition=Q(used_at=None, replaced_at=None),
                name="account_links_one_live",
            ),
        )

    def __str__(self) -> str:
        return f"for {self.person}"


class FormerName(models.Model):
    """A username that somebody had. Nobody else is given it, or one that looks like it.

    Append-only.
    """

    name = models.TextField()
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="former_names"
    )
    until = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "former_names"
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class FailedLogins(models.Model):
    """Failed log-ins of one person from one address in one window: an event for the first, and one
    for the rest. Names that nobody has are counted together, and not kept: they may be passwords.
    """

    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+"
    )
    address = models.TextField(blank=True)
    since = models.DateTimeField()
    count = models.IntegerField()
    recorded = models.IntegerField(help_text="How many of them events tell of.")
    locked_out = models.BooleanField(default=False)

    class Meta:
        db_table = "failed_logins"
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(
                fields=("person", "address"), nulls_distinct=False, name="failed_logins_once"
            ),
            models.CheckConstraint(
                condition=Q(count__gte=F("recorded"), recorded__gte=0), name="failed_logins_counts"
            ),
        )

    def __str__(self) -> str:
        return f"{self.count} of {self.person or 'unknown names'}"
