"""One flag judged: its verdicts after mode and decisions, and the one answer in row, table and page."""

from exd_dagster.audit.flag import Audit, audit

__all__ = ["Audit", "audit"]
