"""Compression under hard budgets: the only room that may import torch, and only once a budget asks for training."""
