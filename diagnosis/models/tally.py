"""What is counted of a case, kept beside it, and which of these counts no longer hold."""

from django.db import models

from diagnosis.models.case import Case


class CaseTally(models.Model):
    """The counts of a case's images by what they are, as `selectors.with_counts` makes them for who reads unblinded.

    Derived, by `services.case_tallies`; a case that has none, or one that is stale, is counted when it is listed.
    """

    case = models.OneToOneField(Case, on_delete=models.CASCADE, primary_key=True, related_name="tally")
    image_count = models.PositiveIntegerField()
    suspected_count = models.PositiveIntegerField()
    unjudged_count = models.PositiveIntegerField()
    indeterminate_count = models.PositiveIntegerField()
    failed_count = models.PositiveIntegerField()
    unfinished_count = models.PositiveIntegerField()
    reviewed_count = models.PositiveIntegerField()
    unread_count = models.PositiveIntegerField()
    overruled_count = models.PositiveIntegerField()
    unsure_count = models.PositiveIntegerField()
    promyelocyte_count = models.PositiveIntegerField()
    leukocyte_count = models.PositiveIntegerField()
    suspicion = models.FloatField(null=True)
    rank = models.PositiveSmallIntegerField()
    traits = models.TextField(
        default="", blank=True,
        help_text="What the history is narrowed by, as an image has it, and who has seen one: ` label=early seen=3 `.",
    )  # fmt: skip

    class Meta:
        verbose_name_plural = "case tallies"

    def __str__(self) -> str:
        return f"{self.image_count} images"


class StaleTally(models.Model):
    """Something a case's tally rests on has changed: a row a change, written by the database itself in the transaction
    of the change (`services.tally_triggers`), and taken away when the case was counted anew.

    Rows are only added, never changed: two changes of one case at once do not wait for each other. The key is one
    without a constraint for the same reason.
    """

    case_key = models.BigIntegerField(db_index=True)

    class Meta:
        verbose_name_plural = "stale tallies"

    def __str__(self) -> str:
        return str(self.case_key)
