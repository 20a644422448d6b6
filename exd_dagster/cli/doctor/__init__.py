"""Can an audit project do its work? One diagnosis per subject, each bad one with its fix."""
