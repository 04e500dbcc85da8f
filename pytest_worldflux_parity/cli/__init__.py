"""The ``worldflux-parity`` command; one file a command."""
