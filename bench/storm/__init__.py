"""Storms: random faults by seed, and what prx says and does about each; a matrix of true causes and shown verdicts."""
