"""What a fleet is called, audits and may not share with another."""
