"""Comparisons that train whole runs."""
