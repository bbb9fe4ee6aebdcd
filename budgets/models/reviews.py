"""The monthly review of what was spent: figures, checklist, decisions, signatures."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class MonthlyReview(models.Model):
    """The review of one month.

    open ──second signature──▶ closed      (final)

    Opened by a job on the first of the next month, with the figures of that moment. Figures may be
    taken anew, checks ticked and decisions written while it is open. A signature is given to
    exactly one state of all that (`state`: a digest); a change leaves it behind, and it must be
    given again. Two signatures of two people to one state close it. Triggers hold this
    (`sql/reviews.sql`).
    """

    class Status(models.TextChoices):
        OPEN = "open", "open"
        CLOSED = "closed", "closed"

    month = models.DateField(unique=True, help_text="Its first day.")
    status = models.TextField(choices=Status, default=Status.OPEN)
    figures = models.JSONField()
    figures_at = models.DateTimeField()
    opened_at = models.DateTimeField(db_default=Now(), editable=False)
    closed_at = models.DateTimeField(null=True, editable=False)
    closed_state = models.TextField(db_default="", default="", editable=False)

    class Meta:
        db_table = "monthly_reviews"
        verbose_name = "monthly review"
        ordering = ("-month",)
        permissions = (("sign_monthlyreview", "Can sign monthly reviews"),)
        constraints = (
            models.CheckConstraint(condition=Q(month__day=1), name="monthly_reviews_first"),
            models.CheckConstraint(
                condition=Q(status="open", closed_at=None, closed_state="")
                | (Q(status="closed", closed_at__isnull=False) & ~Q(closed_state="")),
                name="monthly_reviews_status",
            ),
        )

    def __str__(self) -> str:
        return f"Review of {self.month:%B %Y}"


class ReviewCheck(models.Model):
    """One point of the checklist, ticked by somebody, with a note."""

    review = models.ForeignKey(MonthlyReview, on_delete=models.PROTECT, related_name="checks")
    position = models.SmallIntegerField()
    text = models.TextField()
    done_by = models.TextField(db_default="", default="")
    done_at = models.DateTimeField(null=True)
    note = models.TextField(db_default="", default="")

    class Meta:
        db_table = "review_checks"
        ordering = ("position",)
        constraints = (
            models.UniqueConstraint(fields=("review", "position"), name="review_checks_once"),
            models.CheckConstraint(
                condition=Q(done_by="", done_at=None) | (~Q(done_by="") & Q(done_at__isnull=False)),
                name="review_checks_done",
            ),
        )

    def __str__(self) -> str:
        return self.text


class ReviewDecision(models.Model):
    """What was decided, who does it, and until when. Append-only: another decision corrects it."""

    review = models.ForeignKey(MonthlyReview, on_delete=models.PROTECT, related_name="decisions")
    text = models.TextField()
    who = models.TextField(blank=True, db_default="", default="")
    due = models.DateField(null=True, blank=True)
    by = models.TextField()
    at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "review_decisions"
        ordering = ("id",)
        constraints = (models.CheckConstraint(condition=~Q(text=""), name="review_decisions_text"),)

    def __str__(self) -> str:
        return self.text[:80]


class ReviewSignature(models.Model):
    """Somebody signed one state of a review. Append-only."""

    review = models.ForeignKey(MonthlyReview, on_delete=models.PROTECT, related_name="signatures")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    state = models.TextField()
    comment = models.TextField()
    second_factor_at = models.DateTimeField(
        null=True,
        editable=False,
        help_text="When a solo operator, whose signature this is, showed their second factor.",
    )
    at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "review_signatures"
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(
                fields=("review", "state", "person"),
                condition=Q(second_factor_at=None),
                name="review_signatures_once",
            ),
            models.UniqueConstraint(
                fields=("review", "state", "person"),
                condition=Q(second_factor_at__isnull=False),
                name="review_signatures_once_more",
            ),
            models.CheckConstraint(
                condition=~Q(state="") & ~Q(comment=""), name="review_signatures_said"
            ),
        )

    def __str__(self) -> str:
        return f"{self.person}"
