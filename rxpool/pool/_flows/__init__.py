"""Who brings items and takes results: subscriptions, iterators, calls."""
