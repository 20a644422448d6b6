"""Gate and guard on reports that are built by code of others."""
