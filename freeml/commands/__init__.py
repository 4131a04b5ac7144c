"""The commands, one file each: options in, a call, a table or one JSON object out. Heavy imports are in functions."""
