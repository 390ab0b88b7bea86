"""`millstream replay`: logged requests asked again."""
