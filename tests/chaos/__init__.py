"""Kills, faults and made-up inputs: nothing is lost, nothing is left behind, every mistake is one line."""
