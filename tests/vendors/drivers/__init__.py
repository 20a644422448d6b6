"""One script per SDK: definitions, evaluation of many users, and what the SDK writes about it.

Each module has `definitions(keys)`, `evaluate(document, users, keys, write)` and `ARM_FIELDS`. They run in
the environment of the SDKs, and import nothing of exd_dagster. Every flag splits its users 60 to 40.
"""
