"""The lines of ``diagnoses.jsonl``, which ``kdlab diagnose STUDY`` writes: one diagnosed student each."""

DIAGNOSES = "diagnoses.jsonl"
