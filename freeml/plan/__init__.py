"""From an integer graph to a program for a memory: layout, order, addresses, cost."""
