"""Leukocytes of a field: found, measured and cut out, one by one."""
