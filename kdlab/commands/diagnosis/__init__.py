"""``kdlab diagnose``: which failure a student shows, on what evidence, and what repairs it."""
