"""Decision rules on arrays of scores: numbers in, an explicit generator where random, numbers out."""
