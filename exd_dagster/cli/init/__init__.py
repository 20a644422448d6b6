"""`exd-dagster init`: a first audit project."""
