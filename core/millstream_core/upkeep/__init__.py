"""Work beside the training: shorter ways to versions, and taking away what nothing reaches."""
