"""The dbt example, run by dbt-core on PostgreSQL in an environment of its own (marker `engines`)."""
