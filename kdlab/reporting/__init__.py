"""Reporting: from compact records to intervals, verdicts, tables, figures and the generated report of a study."""
