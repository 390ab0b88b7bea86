"""Requests to be forgotten: keys leave every version, and stay out until that is lifted."""
