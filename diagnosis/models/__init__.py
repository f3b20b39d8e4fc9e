"""What Leukoscope stores; one file a noun, nothing but fields and constraints."""

from diagnosis.models.analysis import Analysis
from diagnosis.models.audit import AuditEvent, AuditHead
from diagnosis.models.case import Case
from diagnosis.models.cell import Cell, CellAnalysis, CellReading
from diagnosis.models.consultation import Dispute, SecondOpinion
from diagnosis.models.finding import SignedFinding
from diagnosis.models.image import SmearImage
from diagnosis.models.interface import ApiToken, IdempotencyKey, Webhook, WebhookDelivery
from diagnosis.models.judgement import Judgement
from diagnosis.models.laboratory import Laboratory, Site
from diagnosis.models.model_version import ModelVersion
from diagnosis.models.promotion import Promotion
from diagnosis.models.quality import QualityDay, QualityPeriod, QualityReference
from diagnosis.models.review import BlindReading, Review
from diagnosis.models.saved_view import SavedView
from diagnosis.models.shadow import ShadowAnalysis
from diagnosis.models.sign_out import SignOut
from diagnosis.models.site_validation import SiteValidation
from diagnosis.models.tally import CaseTally, StaleTally
from diagnosis.models.training import Training
from diagnosis.models.user import User

__all__ = [
    "Analysis",
    "ApiToken",
    "AuditEvent",
    "AuditHead",
    "BlindReading",
    "Case",
    "CaseTally",
    "Cell",
    "CellAnalysis",
    "CellReading",
    "Dispute",
    "IdempotencyKey",
    "Judgement",
    "Laboratory",
    "ModelVersion",
    "Promotion",
    "QualityDay",
    "QualityPeriod",
    "QualityReference",
    "Review",
    "SavedView",
    "SecondOpinion",
    "ShadowAnalysis",
    "SignOut",
    "SignedFinding",
    "Site",
    "SiteValidation",
    "SmearImage",
    "StaleTally",
    "Training",
    "User",
    "Webhook",
    "WebhookDelivery",
]
