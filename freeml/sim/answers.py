"""Moved to freeml.ops.answer; this file goes away."""

from freeml.ops.answer import *  # noqa: F403
from freeml.ops.answer import REASONS, Answers, confidence, decide, stops  # noqa: F401
