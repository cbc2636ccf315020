"""Ours and the peers in turn, in one process. `python -m bench` runs all; `python -m bench NAME...` some."""
