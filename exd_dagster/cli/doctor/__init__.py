"""Check an audit project. One diagnosis per subject, each fault with its fix."""
