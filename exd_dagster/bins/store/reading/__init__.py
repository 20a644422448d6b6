"""The reading side of the store: which hours are read, what changed, and the log open for counting."""
