"""From floats to integers: ranges, number formats, and the step from `Graph` to `QGraph`."""
