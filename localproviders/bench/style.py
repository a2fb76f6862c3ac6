"""The style sheet of the page: light and dark colours, and layouts for phones and wide screens."""

#: Each colour of text has a contrast of at least 4.5 to the background of the text.
STYLE = """
:root { color-scheme: light dark;
  --paper: #fbfbf9; --card: #ffffff; --ink: #1c2127; --soft: #586069; --line: #e2e3df;
  --grid: #ecece8; --one: #1a5fb4; --two: #a04b00; --old: #6b7280; --good: #1b6e3c;
  --bad: #a3242b; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171a; --card: #1b1f23; --ink: #e8eaed; --soft: #a5adb7; --line: #32383f;
  --grid: #2a3037; --one: #7db3ff; --two: #f0a35e; --old: #98a1ac; --good: #74cf95;
  --bad: #ff9a94; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1rem 3rem; }
h1, h2, h3, p, dl, dd, figure, table { margin: 0; }
h1 { font-size: clamp(1.6rem, 1.2rem + 2vw, 2.4rem); line-height: 1.15; letter-spacing: -0.02em;
  font-weight: 650; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; line-height: 1.3; font-weight: 650; margin-bottom: 0.25rem; }
.kind { color: var(--soft); font-size: 0.875rem; margin-bottom: 0.35rem; }
.lead { color: var(--soft); margin-top: 0.6rem; max-width: 46rem; overflow-wrap: anywhere; }
.hint { color: var(--soft); font-size: 0.875rem; max-width: 40rem; }
section { margin-top: 2.75rem; }
.keys { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr));
  gap: 1.25rem 1.5rem; margin-top: 2rem; padding: 1.25rem 0; border-top: 2px solid var(--ink);
  border-bottom: 1px solid var(--line); }
.keys dt { color: var(--soft); font-size: 0.875rem; }
.keys dd.big { font-size: 1.85rem; line-height: 1.2; font-weight: 600; letter-spacing: -0.02em;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.keys .unit { font-size: 0.95rem; font-weight: 400; letter-spacing: 0; color: var(--soft); }
.keys dd.small { color: var(--soft); font-size: 0.8125rem; }
.charts { display: grid; grid-template-columns: 1fr; gap: 2.75rem 2.5rem; margin-top: 2.75rem; }
.charts section { margin: 0; min-width: 0; }
@media (min-width: 60rem) { .charts { grid-template-columns: 1fr 1fr; } }
svg { display: block; width: 100%; height: auto; margin-top: 0.75rem; overflow: visible; }
svg text { font-size: 11px; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .value { font-weight: 600; }
svg .grid { stroke: var(--grid); stroke-width: 1; }
svg .axis { stroke: var(--soft); stroke-width: 1; }
svg .curve { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg .range { stroke-width: 5; stroke-opacity: 0.3; stroke-linecap: round; }
svg .one { stroke: var(--one); } svg .two { stroke: var(--two); }
svg .old { stroke: var(--old); stroke-dasharray: 2 4; }
svg .range.old { stroke-dasharray: none; }
svg circle.one, svg circle.two, svg circle.old { stroke: var(--paper); stroke-width: 1.5;
  stroke-dasharray: none; }
svg circle.one { fill: var(--one); } svg circle.two { fill: var(--two); }
svg circle.old { fill: var(--old); }
svg text.one, svg text.two, svg text.old { stroke: var(--paper); stroke-width: 4;
  stroke-linejoin: round; stroke-dasharray: none; paint-order: stroke; }
svg text.one { fill: var(--one); } svg text.two { fill: var(--two); }
svg text.old { fill: var(--old); }
table { width: 100%; border-collapse: collapse; font-size: 0.9375rem; margin-top: 0.75rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); font-size: 0.875rem; padding-bottom: 0.35rem; }
th, td { padding: 0.5rem 0.25rem 0.5rem 0.6rem; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--line); font-weight: 400; }
thead th { color: var(--soft); font-size: 0.8125rem; line-height: 1.25; vertical-align: bottom;
  border-bottom: 1px solid var(--soft); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tbody th { font-weight: 600; }
td .spread, th .unit { display: block; color: var(--soft); font-size: 0.8125rem; }
.changes { max-width: 46rem; } .changes tbody th { font-weight: 400; }
.changes .group th { font-weight: 600; padding-top: 1.1rem; border-bottom-color: var(--soft); }
.changes .group th::first-letter { text-transform: uppercase; }
td.faster { color: var(--good); font-weight: 600; } td.slower { color: var(--bad);
  font-weight: 600; }
.notes li::first-letter { text-transform: uppercase; }
.notes { color: var(--soft); font-size: 0.875rem; padding-left: 1.1rem; margin: 0.75rem 0 0;
  max-width: 46rem; overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: 0.25rem 1.25rem;
  font-size: 0.9375rem; margin-top: 0.75rem; }
.facts dt { color: var(--soft); } .facts dd { overflow-wrap: anywhere; min-width: 0; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line);
  color: var(--soft); font-size: 0.8125rem; }
@media print { :root { --paper: #fff; } main { padding: 0; } }
"""
