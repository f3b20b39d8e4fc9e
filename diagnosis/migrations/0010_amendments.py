"""An open amendment of a signed report: since when, by whom and why."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("diagnosis", "0009_tallies")]

    operations = [
        migrations.AddField(
            model_name="case",
            name="amending_since",
            field=models.DateTimeField(
                blank=True,
                editable=False,
                help_text="Since when an amendment of the signed report is open; empty: none is.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="case",
            name="amending_by",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="case",
            name="amending_reason",
            field=models.TextField(blank=True, editable=False, max_length=2000),
        ),
    ]
