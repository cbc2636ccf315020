"""The look of a page: one sheet of CSS, for screens light and dark, small and wide, and for paper."""

from __future__ import annotations

from caselli.report.grid import PAGE_WIDTH

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #2b2b2a; --soft: #6b6b67; --line: #e3e2dd; --ground: #fbfaf7; --tile: #f3f1eb; --accent: #2f6f9f;
  --serif: Charter, "Iowan Old Style", "Palatino Linotype", Georgia, serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, monospace;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e2dc; --soft: #a09d95; --line: #383733; --ground: #1b1b1a; --tile: #262524;
    --accent: #86b8dc; }
  img.plot { filter: invert(0.88) hue-rotate(180deg); }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 4.5rem 2rem 6rem; max-width: calc(WIDTHpx + 4rem);
  background: var(--ground); color: var(--ink); font: 1.0625rem/1.6 var(--sans);
}
h1, h2 {
  font-family: var(--serif); font-weight: 500; line-height: 1.2; letter-spacing: -0.01em; text-wrap: balance;
}
h1 { font-size: 2.6rem; margin: 0 0 0.4rem; }
h2 { font-size: 1.55rem; margin: 0 0 0.7rem; }
p { max-width: 44rem; margin: 0 0 1.2rem; }
.subtitle, .lead, figcaption { color: var(--soft); }
section { margin-top: 4rem; }
header + main > section:first-child { margin-top: 2.5rem; }

.facts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: 0.8rem;
  margin: 0 0 1.6rem;
}
.facts div { background: var(--tile); border-radius: 8px; padding: 1rem 1.15rem; }
.facts dt { color: var(--soft); font-size: 0.88rem; }
.facts dd { margin: 0; font-size: 1.65rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
.facts small { font-size: 0.95rem; color: var(--soft); }

figure { margin: 0 0 1.6rem; }
figcaption { font-size: 0.92rem; margin-top: 0.5rem; }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 6px; }
img.pixelated { image-rendering: pixelated; }
img.plot { width: 100%; padding: 0.6rem; }
.plots {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: 1.4rem;
  margin-bottom: 1.6rem;
}
.plots figure { margin: 0; max-width: 46rem; }

.table { overflow-x: auto; margin: 0 0 1.6rem; }
table { border-collapse: collapse; font-size: 0.95rem; font-variant-numeric: tabular-nums; }
th, td {
  text-align: left; padding: 0.42rem 2.2rem 0.42rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere;
}
th { font-weight: 500; color: var(--soft); }

pre {
  background: var(--tile); border-radius: 8px; padding: 0.9rem 1.15rem; margin: 0 0 1.2rem; overflow-x: auto;
  font: 0.92rem/1.55 var(--mono); user-select: all;
}
.command { margin-bottom: 0.35rem; }
details pre { user-select: text; font-size: 0.85rem; }
summary { cursor: pointer; color: var(--accent); margin-bottom: 0.8rem; }
footer {
  margin-top: 5rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: 0.88rem;
}
@media (max-width: 40rem) {
  body { padding: 2.5rem 1.1rem 4rem; }
  h1 { font-size: 2rem; }
}
@media print {
  body { padding: 0; max-width: none; background: #fff; font-size: 10.5pt; }
  section { margin-top: 2rem; }
  figure, .facts div, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  pre { white-space: pre-wrap; }
}
""".replace("WIDTH", str(PAGE_WIDTH))
