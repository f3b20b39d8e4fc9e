"""The style sheet of the HTML report: the pages' neutral surfaces and one accent, light, dark and on paper."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --ground: #f5f6f7; --paper: #ffffff; --soft: #eceef1; --line: #d9dde2;
  --ink: #16191d; --ink-2: #4a525c; --quiet: #5f6873; --accent: #2457c5; --heat: 36 87 197;
  --font: "Inter", system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171a; --paper: #1b1f23; --soft: #24292f; --line: #333a42;
    --ink: #e9ecef; --ink-2: #b3bac2; --quiet: #959ea8; --accent: #8ab0ff; --heat: 104 149 240;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 14px/1.5 var(--font); font-variant-numeric: tabular-nums;
}
main { max-width: 1080px; margin: 0 auto; padding: 32px 24px 64px; }
header p { margin: 4px 0; color: var(--ink-2); max-width: 78ch; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 8px; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 18px; line-height: 1.3; margin: 40px 0 4px; }
h3 { font-size: 14px; margin: 24px 0 4px; }
p { margin: 4px 0 12px; max-width: 78ch; }
.quiet, caption, figcaption { color: var(--quiet); font-size: 12.5px; }
.notice { border-left: 3px solid var(--accent); padding: 2px 0 2px 12px; color: var(--ink); }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 16px 0; }
.facts dt { color: var(--quiet); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 24px 0 8px; }
.figures > div, .panel { background: var(--paper); border: 1px solid var(--line); border-radius: 6px; }
.figures > div { padding: 12px 14px; display: flex; flex-direction: column; }
.figures b { margin-top: auto; }
.figures b { display: block; font-size: 24px; line-height: 1.2; font-weight: 600; letter-spacing: -.01em; }
.figures span { display: block; font-size: 12.5px; color: var(--ink-2); }
.figures .interval { color: var(--quiet); }
.panel { overflow-x: auto; margin: 8px 0 16px; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; padding: 8px 14px 6px; }
th, td { text-align: left; vertical-align: baseline; padding: 5px 14px; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--quiet); font-weight: 500; font-size: 12.5px; white-space: nowrap; }
tbody th { font-weight: 500; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.value { white-space: nowrap; }
td small { color: var(--quiet); font-size: 12px; }
td.value small { display: block; }
td.one small { display: inline; margin-left: 6px; }
tr.part th { color: var(--quiet); font-weight: 500; padding-top: 14px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 0 16px; align-items: start; }
.heat td, .heat thead th { text-align: center; min-width: 76px; }
.heat thead th:first-child { text-align: left; }
.heat td small { display: block; color: var(--ink-2); font-weight: 400; }
.heat td.cell { background: rgb(var(--heat) / calc(var(--share) * .45)); }
.heat td.own { font-weight: 600; }
.dense th, .dense td { padding: 4px 10px; white-space: nowrap; font-size: 12.5px; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(440px, 1fr)); gap: 16px; margin: 12px 0; }
.plots figure { margin: 0; padding: 12px; }
.plots figure.wide { grid-column: 1 / -1; }
.plots svg { display: block; width: 100%; height: auto; margin: 0 auto; }
footer { margin-top: 48px; border-top: 1px solid var(--line); padding-top: 12px; color: var(--quiet); }
footer { font-size: 12.5px; }
@media (max-width: 560px) {
  main { padding: 20px 14px 40px; }
  .pair, .plots { grid-template-columns: minmax(0, 1fr); }
  .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: 6px; }
}
@media print {
  :root {
    color-scheme: light;
    --ground: #fff; --paper: #fff; --soft: #eceef1; --line: #c9ced5;
    --ink: #000; --ink-2: #333; --quiet: #555; --accent: #2457c5; --heat: 36 87 197;
  }
  @page { margin: 16mm 14mm; }
  body { font-size: 10pt; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  h2, h3 { break-after: avoid; }
  .plots { grid-template-columns: 1fr 1fr; }
  .figures > div, .plots figure, tr { break-inside: avoid; }
  .panel { overflow: visible; }
  .dense th, .dense td { padding: 2px 3px; font-size: 7pt; white-space: normal; }
  th, td { padding: 3px 8px; }
}
"""
