"""Records to bins: first exposures, hourly counts, and the store that keeps them."""
