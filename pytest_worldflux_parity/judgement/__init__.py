"""(suite, records) -> verdict; pure, but for gathering what it judges."""
