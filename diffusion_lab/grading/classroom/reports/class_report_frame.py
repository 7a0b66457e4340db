"""The frame of the class report: its style sheet, and the HTML around its body."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1f2328; --faint: #57606a; --line: #d0d7de; --track: #eaeef2;
  --right: #0072b2; --partly: #e69f00; --none: #c9ced4; --warning: #fff1e5; --edge: #b35900;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --ink: #e6e9ec; --faint: #a0a8b1; --line: #3a4149; --track: #252a30;
    --right: #56b4e9; --partly: #f0b429; --none: #4b535c; --warning: #33210f; --edge: #f0a35e;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 44rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
header > p:first-child { margin: 0; color: var(--faint); }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.25; }
h2 { margin: 2.2rem 0 0.6rem; font-size: 1.2rem; }
h3 { margin: 1.4rem 0 0.4rem; font-size: 1rem; }
p { margin: 0.4rem 0; }
code { font-family: ui-monospace, monospace; font-size: 0.92em; }
ul, ol { padding-left: 1.3rem; }
dl { display: flex; flex-wrap: wrap; gap: 0.6rem 2rem; margin: 0.6rem 0 1rem; }
dt { color: var(--faint); font-size: 0.85rem; }
dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
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
table { width: 100%; border-collapse: collapse; }
th, td { padding: 0.3rem 0.5rem 0.3rem 0; border-bottom: 1px solid var(--line); text-align: left; }
th { color: var(--faint); font-weight: normal; overflow-wrap: normal; }
th + th, td + td { text-align: right; font-variant-numeric: tabular-nums; width: 5.5rem; }
.warning {
  margin-top: 1.5rem; padding: 0.2rem 1rem 0.6rem; background: var(--warning); border-left: 4px solid var(--edge);
}
.warning h2 { margin-top: 0.6rem; }
footer { margin-top: 3rem; color: var(--faint); font-size: 0.85rem; }
@media print { details > * { display: block; } }
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
