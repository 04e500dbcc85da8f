"""The component match of this backend: the algorithm beside it does not know of it."""
