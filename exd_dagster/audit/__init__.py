"""Evaluation of one flag: verdicts after mode and decisions, `trust`, and its row, table and page."""

from exd_dagster.audit.flag import Audit, audit

__all__ = ["Audit", "audit"]
