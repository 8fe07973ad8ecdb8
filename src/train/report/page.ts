// The report as one HTML file that loads nothing: style, pictures and a few lines of script are inside.
import { escapeHtml } from "./html.ts";

/** A part of the page. `html` is trusted. */
export interface Section {
  readonly title: string;
  readonly note?: string;
  readonly html: string;
}

/** A number that the page opens with. */
export interface Figure {
  readonly value: string;
  readonly name: string;
}

export interface Page {
  readonly title: string;
  /** What was done, in a sentence. */
  readonly summary: string;
  readonly figures: readonly Figure[];
  readonly sections: readonly Section[];
}

const style = `
:root { color-scheme: light dark; --bg: #fcfcfb; --card: #fff; --ink: #1d1f23; --soft: #6a6f78; --rule: #e3e4e2;
  --c0: #2563c9; --c1: #c2410c; --c2: #0f8a5f; --c3: #8b3fc7; --c4: #a16207; --good: #0f8a5f; --bad: #c8321f; }
@media (prefers-color-scheme: dark) { :root { --bg: #14161a; --card: #1b1e24; --ink: #e6e7ea; --soft: #9aa0aa; --rule: #2e333c;
  --c0: #74a7ff; --c1: #ff9a62; --c2: #4fd1a1; --c3: #c99bff; --c4: #e6bf57; --good: #4fd1a1; --bad: #ff8573; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 70rem; background: var(--bg); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { margin: 0; font-size: 1.75rem; letter-spacing: -0.01em; }
h2 { margin: 3rem 0 0.25rem; font-size: 1.2rem; }
h3 { margin: 0; font-size: 0.95rem; }
p { margin: 0.25rem 0 0; max-width: 46rem; }
.note, .summary { color: var(--soft); }
.figures { display: flex; flex-wrap: wrap; gap: 0.75rem; margin: 1.5rem 0 0; padding: 0; }
.figures div { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 0.7rem 1.1rem; min-width: 8.5rem; }
.figures b { display: block; font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.figures span { color: var(--soft); font-size: 0.85rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; margin-top: 1rem; }
.chart { margin: 0; background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 0.8rem 1rem 0.6rem; position: relative;
  display: flex; flex-direction: column; }
.chart .note { font-size: 0.82rem; line-height: 1.35; }
.chart svg { width: 100%; height: auto; display: block; margin-top: auto; padding-top: 0.4rem; overflow: visible; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; font-variant-numeric: tabular-nums; }
.grid { stroke: var(--rule); } .axis { stroke: var(--soft); }
.line { fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linejoin: round; }
.faint { opacity: 0.28; stroke-width: 1; } .line.reference { stroke-dasharray: 5 4; } .dot { fill: currentColor; }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); } .c3 { color: var(--c3); } .c4 { color: var(--c4); }
.cross { stroke: var(--soft); stroke-dasharray: 2 3; }
.tip { position: absolute; top: 0.6rem; right: 0.8rem; background: var(--card); border: 1px solid var(--rule); border-radius: 6px;
  padding: 0.15rem 0.5rem; font-size: 0.8rem; pointer-events: none; font-variant-numeric: tabular-nums; white-space: pre; }
.legend { display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; font-size: 0.85rem; }
.legend span::before { content: ""; display: inline-block; width: 1.1em; border-top: 2.5px solid currentColor; margin-right: 0.4em; vertical-align: middle; }
.legend .reference::before { border-top-style: dashed; }
.map { position: relative; width: 100%; aspect-ratio: 16 / 10; margin-top: 1rem; background: var(--card); border: 1px solid var(--rule);
  border-radius: 8px; overflow: hidden; }
.map i { position: absolute; translate: -50% -50%; }
.map i:hover { scale: 2.6; z-index: 2; }
.thumb { display: inline-block; border-radius: 3px; background-clip: padding-box; vertical-align: top; }
.rows { display: grid; gap: 0.45rem 2rem; margin-top: 1rem; }
.neighbours { grid-template-columns: repeat(auto-fit, minmax(31rem, 1fr)); }
.row { display: flex; flex-wrap: wrap; gap: 0.3rem; align-items: start; }
.row figure { margin: 0; text-align: center; font-size: 0.72rem; color: var(--soft); font-variant-numeric: tabular-nums; }
.row .query { margin-right: 0.9rem; } .row .thumb { border: 2px solid transparent; box-sizing: content-box; }
.row .same .thumb { border-color: var(--good); } .row .other .thumb { border-color: var(--bad); }
.row img { display: block; border-radius: 3px; } .frame { display: inline-block; border: 2px solid transparent; border-radius: 5px; }
.row .same .frame { border-color: var(--good); } .row .other .frame { border-color: var(--bad); }
.legend .class::before { width: 0.75em; height: 0.75em; border: 0; border-radius: 2px; background: var(--dot); }
.filters { image-rendering: pixelated; margin-top: 1rem; max-width: 100%; border-radius: 4px; }
table { border-collapse: collapse; margin-top: 0.75rem; font-size: 0.88rem; }
td { padding: 0.2rem 1.5rem 0.2rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; overflow-wrap: anywhere; }
td:first-child { color: var(--soft); white-space: nowrap; }
footer { margin-top: 3rem; color: var(--soft); font-size: 0.85rem; }
`;

/** Reads the nearest values of a chart off while the pointer is over it. */
const script = `
for (const svg of document.querySelectorAll("svg[data-chart]")) {
  const { x, box, series } = JSON.parse(svg.dataset.chart);
  const line = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  line.setAttribute("class", "cross");
  const tip = svg.parentNode.appendChild(Object.assign(document.createElement("div"), { className: "tip", hidden: true }));
  svg.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse()).x;
    const near = series.map(({ points }) => points.reduce((a, b) => (Math.abs(b[2] - at) < Math.abs(a[2] - at) ? b : a)));
    line.setAttribute("d", "M" + near[0][2] + " " + box.top + "V" + box.bottom);
    tip.textContent = [x + " " + near[0][0], ...series.map(({ name }, i) => name + " " + near[i][1])].join("\\n");
    tip.hidden = false;
  });
  svg.addEventListener("pointerleave", () => { tip.hidden = true; line.removeAttribute("d"); });
}
`;

const section = ({ title, note, html }: Section): string =>
  `<section><h2>${escapeHtml(title)}</h2>${note ? `<p class="note">${escapeHtml(note)}</p>` : ""}\n${html}</section>`;

/** Rows of a table of names and values. */
export const table = (rows: readonly (readonly [string, string])[]): string =>
  `<table>${rows.map(([name, value]) => `<tr><td>${escapeHtml(name)}</td><td>${escapeHtml(value)}</td></tr>`).join("\n")}</table>`;

/** `extraStyle` holds the sheet of thumbnails. */
export function page({ title, summary, figures, sections }: Page, extraStyle = ""): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title><style>${style}${extraStyle}</style></head><body>
<header><h1>${escapeHtml(title)}</h1><p class="summary">${escapeHtml(summary)}</p>
<div class="figures">${figures.map(({ value, name }) => `<div><b>${escapeHtml(value)}</b><span>${escapeHtml(name)}</span></div>`).join("")}</div></header>
${sections.map(section).join("\n")}
<footer>Written by Autodidact. Everything on this page is inside this file.</footer>
<script>${script}</script></body></html>
`;
}
