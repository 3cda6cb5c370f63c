"""What must not be read: finding credentials, hiding them, and encrypting what is secret."""
