"""What is told, to whom, and when again. Pure."""
