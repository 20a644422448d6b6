"""What a notification says, for every channel."""
