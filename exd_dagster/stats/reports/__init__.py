"""What a report made of the units that were exposed: its own counts against the bins."""
