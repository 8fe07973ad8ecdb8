// Line charts as SVG text. Colours and fonts come from the page's style sheet, so that they follow light and dark.
import { escapeHtml } from "./html.ts";

export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  /** A reference to compare with, drawn dashed. */
  readonly reference?: boolean;
  /** Draws a running mean over the points, which themselves become faint. */
  readonly smooth?: boolean;
}

export interface Chart {
  readonly title: string;
  /** What it shows and how to read it, in a sentence. */
  readonly note?: string;
  readonly x: string;
  readonly y: string;
  readonly series: readonly Series[];
  /** Lower end of the vertical axis when the numbers themselves should not decide. */
  readonly from?: number;
}

const WIDTH = 420;
const HEIGHT = 230;
const box = { left: 52, right: WIDTH - 14, top: 12, bottom: HEIGHT - 40 };

/** Round numbers that cut [low, high] into about `count` parts. */
export function ticks(low: number, high: number, count: number): number[] {
  if (!(high > low)) return [low];
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((m) => m * power >= rough) as number) * power;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** 1234567 -> "1.2M", 0.00012 -> "1.2e-4", -0.5 -> "−0.5" */
export function tickLabel(value: number): string {
  const size = Math.abs(value);
  const short = (x: number) => String(Number(x.toPrecision(3)));
  const text =
    size === 0
      ? "0"
      : size >= 1e6
        ? `${short(size / 1e6)}M`
        : size >= 1e4
          ? `${short(size / 1e3)}k`
          : size < 1e-3
            ? Number(size.toPrecision(2)).toExponential()
            : short(size);
  return value < 0 ? `−${text}` : text;
}

/** Means of neighbouring points, so that at most `limit` are left. */
export function thinned(points: Series["points"], limit = 400): Series["points"] {
  const size = Math.ceil(points.length / limit);
  if (size <= 1) return points;
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i) => {
    const part = points.slice(i * size, (i + 1) * size);
    const mean = (axis: 0 | 1) => part.reduce((sum, p) => sum + p[axis], 0) / part.length;
    return [mean(0), mean(1)] as const;
  });
}

/** Exponential running mean over about a thirtieth of the points, corrected for its start as Adam's. */
function smoothed(points: Series["points"]): Series["points"] {
  const keep = 1 - 1 / Math.max(1, points.length / 30);
  let [sum, weight] = [0, 0];
  return points.map(([x, y]) => {
    sum = keep * sum + y;
    weight = keep * weight + 1;
    return [x, sum / weight] as const;
  });
}

interface Scale {
  (value: number): number;
  readonly ticks: readonly number[];
}

function scale(values: readonly number[], [begin, end]: readonly [number, number], count: number, from?: number): Scale {
  let [low, high] = [Math.min(...values, from ?? Number.POSITIVE_INFINITY), Math.max(...values)];
  if (!(high > low)) [low, high] = from === undefined ? [low - 0.5, high + 0.5] : [from, Math.max(high, from + 1)];
  const pad = (end < begin ? 0.06 : 0) * (high - low);
  const [a, b] = [low === from ? low : low - pad, high + pad];
  return Object.assign((value: number) => begin + ((value - a) / (b - a)) * (end - begin), { ticks: ticks(a, b, count) });
}

const path = (points: Series["points"], x: Scale, y: Scale) =>
  points.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");

/** A chart of one or more curves with its title, axes and legend, or nothing when there is nothing to draw. */
export function chart({ title, note, x: xName, y: yName, series, from }: Chart): string {
  const drawn = series
    .map((s) => ({ ...s, points: thinned(s.points.filter(([, y]) => Number.isFinite(y))) }))
    .filter(({ points }) => points.length > 0);
  if (drawn.length === 0) return "";
  const all = drawn.flatMap(({ points }) => points);
  const x = scale(
    all.map(([a]) => a),
    [box.left, box.right],
    5,
    0,
  );
  const y = scale(
    all.map(([, b]) => b),
    [box.bottom, box.top],
    4,
    from,
  );
  const grid = y.ticks.map(
    (t) => `<path class="grid" d="M${box.left} ${y(t).toFixed(1)}H${box.right}"/>${label(box.left - 6, y(t) + 4, "end", tickLabel(t))}`,
  );
  const below = x.ticks.map((t) => label(x(t), box.bottom + 16, "middle", tickLabel(t)));
  const curves = drawn.map((s, i) => curve(s, i, x, y));
  const names = [label((box.left + box.right) / 2, HEIGHT - 6, "middle", xName, "name"), verticalLabel(yName)];
  const values = JSON.stringify({
    x: xName,
    box,
    series: drawn.map(({ name, points }) => ({
      name,
      points: points.map(([a, b]) => [a, b, x(a), y(b)].map((n) => Number(n.toPrecision(5)))),
    })),
  });
  return `<figure class="chart"><h3>${escapeHtml(title)}</h3>${note ? `<p class="note">${escapeHtml(note)}</p>` : ""}
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(title)}" data-chart="${escapeHtml(values)}">
${[...grid, ...below, `<path class="axis" d="M${box.left} ${box.bottom}H${box.right}"/>`, ...names, ...curves].join("\n")}
</svg>${drawn.length > 1 ? legend(drawn) : ""}</figure>`;
}

function curve({ points, reference, smooth }: Series, i: number, x: Scale, y: Scale): string {
  const color = `c${i % 5}`;
  if (points.length === 1)
    return `<circle class="${color} dot" cx="${x(points[0][0]).toFixed(1)}" cy="${y(points[0][1]).toFixed(1)}" r="3"/>`;
  const faint = smooth && points.length > 30;
  const raw = `<path class="${color} line${reference ? " reference" : ""}${faint ? " faint" : ""}" d="${path(points, x, y)}"/>`;
  const dots =
    points.length <= 30 && !reference
      ? points.map(([a, b]) => `<circle class="${color} dot" cx="${x(a).toFixed(1)}" cy="${y(b).toFixed(1)}" r="2.2"/>`)
      : [];
  return [raw, ...(faint ? [`<path class="${color} line" d="${path(smoothed(points), x, y)}"/>`] : []), ...dots].join("\n");
}

const label = (x: number, y: number, anchor: string, text: string, kind = "tick") =>
  `<text class="${kind}" x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${escapeHtml(text)}</text>`;

const verticalLabel = (text: string) =>
  `<text class="name" transform="translate(11 ${(box.top + box.bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeHtml(text)}</text>`;

const legend = (series: readonly Series[]) =>
  `<p class="legend">${series.map(({ name, reference }, i) => `<span class="c${i % 5}${reference ? " reference" : ""}">${escapeHtml(name)}</span>`).join("")}</p>`;
