"""What went wrong with a distilled student, and on what evidence: rules over measurements of train and validation."""

from kdlab.experiments.diagnosis.diagnosing import Diagnosis, Harm, diagnose
from kdlab.experiments.diagnosis.measurements import Measurements
from kdlab.experiments.diagnosis.rules import THRESHOLDS, Evidence, Finding, Thresholds

__all__ = ["THRESHOLDS", "Diagnosis", "Evidence", "Finding", "Harm", "Measurements", "Thresholds", "diagnose"]
