"""The same audit in YAML."""
