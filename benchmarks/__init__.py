"""Measurements that are too long for the test suite; each file says how it is run."""
