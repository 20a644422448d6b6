"""Records to bins: first exposures, hourly counts, and their store."""
