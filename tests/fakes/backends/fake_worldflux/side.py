"""The worldflux side."""
