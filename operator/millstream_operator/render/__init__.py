"""Manifests: plain functions of a custom resource."""
