# make demo | test | check | ui | bench
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check ui bench clean
.DEFAULT_GOAL := help
