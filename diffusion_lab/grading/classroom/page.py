"""What pages for people share: one style sheet for light and dark, and the HTML around a body. They need no network."""

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
table { width: 100%; border-collapse: collapse; }
th, td { padding: 0.3rem 0.5rem 0.3rem 0; border-bottom: 1px solid var(--line); text-align: left; }
th { color: var(--faint); font-weight: normal; overflow-wrap: normal; }
th + th, td + td { text-align: right; font-variant-numeric: tabular-nums; width: 5.5rem; }
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
