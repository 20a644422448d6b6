"""One reader per vendor: its `READER` is listed in `registry.py`."""
