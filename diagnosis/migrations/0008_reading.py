"""Reviews made by one action, and where the network places an image, by which similar ones are found."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("diagnosis", "0007_audit_is_append_only")]

    operations = [
        migrations.AddField(
            model_name="analysis",
            name="embedding",
            field=models.BinaryField(
                default=b"",
                editable=False,
                help_text="Little-endian float16 values: where the network places the image. Compared within a model "
                "version.",
            ),
        ),
        migrations.AddField(
            model_name="review",
            name="batch",
            field=models.UUIDField(db_index=True, editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="review",
            index=models.Index(fields=["label", "-created_at"], name="review_by_label"),
        ),
    ]
