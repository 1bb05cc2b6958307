"""What searches and repetitions share: slots, runs, leases, baselines."""
