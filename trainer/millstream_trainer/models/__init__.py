"""The dense models and the update rules of what they learn."""
