"""HTTP: reading requests, writing answers, and nothing about tensors."""
