"""The idea that usually stands behind a mistake."""

from __future__ import annotations

import re


def idea_behind(kind: str, text: str) -> str:
    """The idea that usually stands behind such a mistake, or nothing."""
    whole = "expression" not in text  # else only some of its names are there
    if kind in ("root missing", "roots") and whole and re.search(r"alpha_bar|abar|beta|var|kept|cov|1 - |spread", text):
        return "A variance is not a standard deviation: what multiplies data or noise is the root of a variance."
    if kind in ("root too many", "square missing") and re.search(r"\b(std|sigma|sd)", text):
        return "A standard deviation is not a variance: variances add, and they are the squares."
    if kind == "index" and re.search(r"\[[^\]]*(t|i|s|n)\b[^\]]*\]|range|arange", text):
        return "Watch which step it belongs to, and that steps count from 0."
    if kind.startswith("complement") and re.search(r"alpha|abar|kept|beta", text):
        return "Ask which share belongs to the data and which to the noise."
    if kind == "axis":
        return "Which axis is the batch, and which stays?"
    if kind in ("function", "call missing", "call too many"):
        if re.search(r"`mean`.*`sum`|`sum`.*`mean`", text):
            return "A sum grows with the number of entries, a mean does not."
        if re.search(r"cumprod|\bprod\b", text):
            return "Shares of the signal multiply up from step to step."
        if "detach" in text or "no_grad" in text:
            return "Think of where gradients must flow, and where they must not."
        if "clamp" in text or "clip" in text:
            return "Ask which values are possible here."
    if kind in ("case ignored", "condition too many", "boundary", "cases exchanged") and re.search(r"\bt\b", text):
        return "Think the first and the last step through by hand."
    if kind == "shape":
        return "It needs an axis of size 1 for every axis of the data but the first."
    return ""
