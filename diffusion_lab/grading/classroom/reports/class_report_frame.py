"""The style of the class report, beside what all pages share."""

from diffusion_lab.grading.classroom.page import STYLE as SHARED

STYLE = (
    SHARED
    + """
figure { margin: 1rem 0; }
figcaption { margin-top: 0.5rem; color: var(--faint); font-size: 0.9rem; }
svg { display: block; width: 100%; max-width: 29rem; height: auto; }
svg text { fill: var(--ink); font-size: 12px; font-family: system-ui, sans-serif; }
svg .code { font-family: ui-monospace, monospace; }
svg .middle { text-anchor: middle; }
svg .end { text-anchor: end; }
svg .faint { fill: var(--faint); }
svg .small { font-size: 9.5px; }
svg .some, svg .right { fill: var(--right); }
svg .partly { fill: var(--partly); }
svg .none { fill: var(--none); }
svg .base { stroke: var(--faint); }
svg .count { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }
svg .median { stroke: var(--ink); stroke-dasharray: 4 3; }
.key { display: inline-block; width: 0.8em; height: 0.8em; }
.key.right { background: var(--right); }
.key.partly { background: var(--partly); }
.key.none { background: var(--none); }
.ideas > li { margin: 1rem 0; }
.track { height: 0.5rem; background: var(--track); }
.track > div { height: 100%; background: var(--right); }
details { color: var(--faint); font-size: 0.9rem; }
summary { cursor: pointer; }
.warning {
  margin-top: 1.5rem; padding: 0.2rem 1rem 0.6rem; background: var(--warning); border-left: 4px solid var(--edge);
}
.warning h2 { margin-top: 0.6rem; }
"""
)
