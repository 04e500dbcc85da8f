"""Runs: attempts, retries, leases, the store, and the engines that execute."""
