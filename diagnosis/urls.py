"""URLs of the clinical application."""

from __future__ import annotations

from django.urls import URLPattern, path

from diagnosis.views.case import case, case_live, sample
from diagnosis.views.cell import cell, image_cells
from diagnosis.views.cells import cells, cells_read, cells_rows, cells_undo
from diagnosis.views.history import history
from diagnosis.views.images import (
    cell_saliency,
    image_file,
    image_overlay,
    image_processed,
    image_sprite,
    image_thumbnail,
)
from diagnosis.views.models import bundle_evidence, models
from diagnosis.views.new_case import new_case
from diagnosis.views.promotion import judge, judgement_live, promote, retire, roll_back, shadow
from diagnosis.views.review import retry, review
from diagnosis.views.sites import site, sites
from diagnosis.views.trainings import training, training_live, trainings_live
from diagnosis.views.upload import upload
from diagnosis.views.worklist import queue_live, worklist

app_name = "diagnosis"

urlpatterns: list[URLPattern] = [
    path("", worklist, name="worklist"),
    path("live", queue_live, name="queue-live"),
    path("cases/new", new_case, name="case-new"),
    path("cases/<int:pk>", case, name="case"),
    path("cases/<int:pk>/live", case_live, name="case-live"),
    path("cases/<int:pk>/images", upload, name="upload"),
    path("cases/<int:pk>/sample", sample, name="sample"),
    path("cases/<int:pk>/cells", cells, name="cells"),
    path("cases/<int:pk>/cells.json", cells_rows, name="cells-rows"),
    path("cases/<int:pk>/cells/read", cells_read, name="cells-read"),
    path("cases/<int:pk>/cells/undo", cells_undo, name="cells-undo"),
    path("cells/<int:pk>", cell, name="cell"),
    path("cells/<int:pk>/saliency.png", cell_saliency, name="cell-saliency"),
    path("images/<uuid:pk>/cells.json", image_cells, name="image-cells"),
    path("images/<uuid:pk>/cells.jpg", image_sprite, name="image-sprite"),
    path("images/<uuid:pk>/file", image_file, name="image-file"),
    path("images/<uuid:pk>/thumbnail", image_thumbnail, name="image-thumbnail"),
    path("images/<uuid:pk>/processed.png", image_processed, name="image-processed"),
    path("images/<uuid:pk>/overlay/<str:method>.png", image_overlay, name="image-overlay"),
    path("images/<uuid:pk>/review", review, name="review"),
    path("images/<uuid:pk>/retry", retry, name="retry"),
    path("history", history, name="history"),
    path("models", models, name="models"),
    path("models/trainings/live", trainings_live, name="trainings-live"),
    path("models/trainings/<uuid:pk>", training, name="training"),
    path("models/trainings/<uuid:pk>/live", training_live, name="training-live"),
    path("models/sites", sites, name="sites"),
    path("models/sites/<int:pk>", site, name="site"),
    path("models/versions/<int:pk>/evidence/<path:path>", bundle_evidence, name="bundle-evidence"),
    path("models/versions/<int:pk>/promote", promote, name="promote"),
    path("models/versions/<int:pk>/judgement", judgement_live, name="judgement-live"),
    path("models/versions/<int:pk>/judge", judge, name="judge"),
    path("models/versions/<int:pk>/roll-back", roll_back, name="roll-back"),
    path("models/versions/<int:pk>/shadow", shadow, name="shadow"),
    path("models/versions/<int:pk>/retire", retire, name="retire"),
]
