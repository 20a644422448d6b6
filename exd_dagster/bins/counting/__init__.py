"""Records to counts: who is counted, and how often."""
