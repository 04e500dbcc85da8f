"""What is asked: suites of every track, older manifests, campaigns, and the pairs that follow."""
