"""What Leukoscope stores; one file a noun, nothing but fields and constraints."""

from diagnosis.models.analysis import Analysis
from diagnosis.models.audit import AuditEvent
from diagnosis.models.case import Case
from diagnosis.models.cell import Cell, CellAnalysis, CellReading
from diagnosis.models.image import SmearImage
from diagnosis.models.judgement import Judgement
from diagnosis.models.laboratory import Laboratory, Site
from diagnosis.models.model_version import ModelVersion
from diagnosis.models.promotion import Promotion
from diagnosis.models.review import Review
from diagnosis.models.shadow import ShadowAnalysis
from diagnosis.models.site_validation import SiteValidation
from diagnosis.models.training import Training
from diagnosis.models.user import User

__all__ = [
    "Analysis",
    "AuditEvent",
    "Case",
    "Cell",
    "CellAnalysis",
    "CellReading",
    "Judgement",
    "Laboratory",
    "ModelVersion",
    "Promotion",
    "Review",
    "ShadowAnalysis",
    "Site",
    "SiteValidation",
    "SmearImage",
    "Training",
    "User",
]
