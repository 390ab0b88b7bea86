"""What kopf calls."""
