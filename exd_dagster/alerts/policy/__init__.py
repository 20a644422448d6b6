"""What is sent, where, and when it is repeated. Pure."""
