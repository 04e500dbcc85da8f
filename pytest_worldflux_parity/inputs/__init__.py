"""What a suite names: backends, the lock, checkouts, environments, goldens, score tables."""
