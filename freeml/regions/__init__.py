"""Regions: what a layer can be cut into, where an energy budget cuts it, and the proof that each may run again."""
