"""What is known of a user beyond the request."""
