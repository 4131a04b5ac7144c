"""What a compile tells people: figures, tables, the machine-readable report."""
