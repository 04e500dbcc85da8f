"""The ``worldflux-parity`` command."""
