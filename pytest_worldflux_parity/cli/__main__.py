"""``python -m pytest_worldflux_parity.cli``."""

from .main import main

raise SystemExit(main())
