"""URLs of the clinical application."""

from __future__ import annotations

from django.urls import URLPattern, path

from diagnosis.views.account import account, idle_live, second_factor, sessions_end
from diagnosis.views.audit import audit, audit_csv, audit_verify
from diagnosis.views.case import case, case_live, sample
from diagnosis.views.case_facts import facts
from diagnosis.views.cell import cell, image_cells
from diagnosis.views.cells import cells, cells_read, cells_undo
from diagnosis.views.compare import compare
from diagnosis.views.consultation import opinion_ask, opinion_withdraw
from diagnosis.views.dicom import overlay_dicom, report_dicom
from diagnosis.views.exports import history_csv
from diagnosis.views.history import history
from diagnosis.views.images import (
    cell_saliency,
    image_file,
    image_overlay,
    image_processed,
    image_screen,
    image_sprite,
    image_thumbnail,
)
from diagnosis.views.interfaces import (
    delivery_retry,
    interfaces,
    token_create,
    token_revoke,
    webhook_create,
    webhook_remove,
    webhook_test,
)
from diagnosis.views.laboratory import laboratory
from diagnosis.views.models import bundle_evidence, models
from diagnosis.views.new_case import new_case
from diagnosis.views.promotion import judge, judgement_live, promote, retire, roll_back, shadow
from diagnosis.views.quality import quality
from diagnosis.views.reports import report_json, report_pdf, report_version
from diagnosis.views.review import blind, retry, review, review_undo
from diagnosis.views.review_several import reviews, reviews_undo
from diagnosis.views.saved_views import view_delete, view_save
from diagnosis.views.sign_out import amendment_abandon, amendment_open, sign_out, sign_out_live, signed_report
from diagnosis.views.sites import site, sites
from diagnosis.views.trainings import training, training_live, trainings_live
from diagnosis.views.upload import upload
from diagnosis.views.worklist import case_assign, queue_live, worklist, worklist_live

app_name = "diagnosis"

urlpatterns: list[URLPattern] = [
    path("", worklist, name="worklist"),
    path("live", queue_live, name="queue-live"),
    path("worklist/live", worklist_live, name="worklist-live"),
    path("views", view_save, name="view-save"),
    path("views/<int:pk>/delete", view_delete, name="view-delete"),
    path("cases/new", new_case, name="case-new"),
    path("cases/<int:pk>", case, name="case"),
    path("cases/<int:pk>/facts", facts, name="case-facts"),
    path("cases/<int:pk>/live", case_live, name="case-live"),
    path("cases/<int:pk>/assign", case_assign, name="case-assign"),
    path("cases/<int:pk>/opinions", opinion_ask, name="opinion-ask"),
    path("opinions/<int:pk>/withdraw", opinion_withdraw, name="opinion-withdraw"),
    path("cases/<int:pk>/images", upload, name="upload"),
    path("cases/<int:pk>/sample", sample, name="sample"),
    path("cases/<int:pk>/cells", cells, name="cells"),
    path("cases/<int:pk>/cells/read", cells_read, name="cells-read"),
    path("cases/<int:pk>/cells/undo", cells_undo, name="cells-undo"),
    path("cases/<int:pk>/sign-out", sign_out, name="sign-out"),
    path("cases/<int:pk>/sign-out/live", sign_out_live, name="sign-out-live"),
    path("cases/<int:pk>/sign-out/<int:number>", signed_report, name="signed-report"),
    path("cases/<int:pk>/amendment", amendment_open, name="amendment-open"),
    path("cases/<int:pk>/amendment/abandon", amendment_abandon, name="amendment-abandon"),
    path("cases/<int:pk>/report.pdf", report_pdf, name="report-pdf"),
    path("cases/<int:pk>/report.json", report_json, name="report-json"),
    path("cases/<int:pk>/report.dcm", report_dicom, name="report-dicom"),
    path("cases/<int:pk>/reports/<int:number>.pdf", report_version, name="report-version"),
    path("cells/<int:pk>", cell, name="cell"),
    path("cells/<int:pk>/saliency.png", cell_saliency, name="cell-saliency"),
    path("images/<uuid:pk>/cells.json", image_cells, name="image-cells"),
    path("images/<uuid:pk>/cells.jpg", image_sprite, name="image-sprite"),
    path("images/<uuid:pk>/file", image_file, name="image-file"),
    path("images/<uuid:pk>/screen", image_screen, name="image-screen"),
    path("images/<uuid:pk>/thumbnail", image_thumbnail, name="image-thumbnail"),
    path("images/<uuid:pk>/processed.png", image_processed, name="image-processed"),
    path("images/<uuid:pk>/overlay/<str:method>.png", image_overlay, name="image-overlay"),
    path("images/<uuid:pk>/overlay/<str:method>.dcm", overlay_dicom, name="overlay-dicom"),
    path("images/<uuid:pk>/review", review, name="review"),
    path("images/<uuid:pk>/review/undo", review_undo, name="review-undo"),
    path("images/<uuid:pk>/blind", blind, name="blind"),
    path("images/<uuid:pk>/compare", compare, name="compare"),
    path("cases/<int:pk>/reviews", reviews, name="reviews"),
    path("cases/<int:pk>/reviews/undo", reviews_undo, name="reviews-undo"),
    path("images/<uuid:pk>/retry", retry, name="retry"),
    path("history", history, name="history"),
    path("history.csv", history_csv, name="history-csv"),
    path("quality", quality, name="quality"),
    path("audit", audit, name="audit"),
    path("audit.csv", audit_csv, name="audit-csv"),
    path("audit/verify", audit_verify, name="audit-verify"),
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
    path("laboratory", laboratory, name="laboratory"),
    path("account", account, name="account"),
    path("account/second-factor", second_factor, name="second-factor"),
    path("account/sessions/end", sessions_end, name="sessions-end"),
    path("account/idle", idle_live, name="idle-live"),
    path("laboratory/interfaces", interfaces, name="interfaces"),
    path("laboratory/interfaces/tokens", token_create, name="token-create"),
    path("laboratory/interfaces/tokens/<int:pk>/revoke", token_revoke, name="token-revoke"),
    path("laboratory/interfaces/webhooks", webhook_create, name="webhook-create"),
    path("laboratory/interfaces/webhooks/<int:pk>/remove", webhook_remove, name="webhook-remove"),
    path("laboratory/interfaces/webhooks/<int:pk>/test", webhook_test, name="webhook-test"),
    path("laboratory/interfaces/deliveries/<uuid:pk>/retry", delivery_retry, name="delivery-retry"),
]
