"""Fixed-point arithmetic: the one rounding rule of freeml and everything built on it.

Written once here and once in firmware/common/fm_math.h; tests prove the two equal.
"""
