"""What the software costs: `make bench`, one JSON object a line."""
