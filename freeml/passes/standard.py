"""The passes that every net goes through before it is quantized, in order."""

from __future__ import annotations

from freeml.passes.canonical import CanonicalMeans
from freeml.passes.fold import FoldAffine, FoldPad
from freeml.passes.fuse import FuseClip
from freeml.passes.merge import MergeLinear
from freeml.passes.views import MergeViews

PASSES = (CanonicalMeans(), FoldPad(), MergeViews(), FoldAffine(), FuseClip(), MergeViews(), MergeLinear())
