#!/bin/sh
# Run once by PostgreSQL's image on an empty volume: a role and a database for Dagster and for the lake's catalog.
set -eu
psql -v ON_ERROR_STOP=1 -v dagster="$DAGSTER_DB_PASSWORD" -v exd="$EXD_DB_PASSWORD" -U "${POSTGRES_USER:-postgres}" -d postgres <<'SQL'
CREATE ROLE dagster LOGIN PASSWORD :'dagster';
CREATE DATABASE dagster OWNER dagster;
CREATE ROLE exd LOGIN PASSWORD :'exd';
CREATE DATABASE exd OWNER exd;
SQL
