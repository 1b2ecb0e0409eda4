/**
 * A line chart as SVG text: panels one under the other over one time axis, each with its own scale. Nothing but text comes out: no fonts, no scripts.
 *
 *   Chart ─ panel('Mbit/s') ─ line(name, points), step(…), band(from, to) ─▶ text()
 */

const WIDTH = 860;
const PANEL_HEIGHT = 190;
const LEFT = 58;
const RIGHT = 185;
const TOP = 46;
const GAP = 34;
const COLOURS = ['#1f6fb4', '#d1602f', '#3b8f4a', '#8b5fb0', '#8a8a8a', '#b8860b'];

type Point = readonly [number, number];

interface Line {
  name: string;
  points: readonly Point[];
  dashed: boolean;
}

/** One scale with its lines. */
export class Panel {
  readonly unit: string;
  readonly lines: Line[] = [];
  readonly bands: { from: number; to: number; name: string }[] = [];
  private readonly most: number | undefined;

  /** `most`: the top of the scale; the largest value unless told. */
  constructor(unit: string, most?: number) {
    this.unit = unit;
    this.most = most;
  }

  line(name: string, points: readonly Point[], dashed = false): this {
    this.lines.push({ name, points, dashed });
    return this;
  }

  /** A time that is marked. */
  band(name: string, from: number, to: number): this {
    this.bands.push({ name, from, to });
    return this;
  }

  /** The top of the scale. */
  get top(): number {
    if (this.most !== undefined) return this.most;
    let top = 0;
    for (const l of this.lines) for (const [, y] of l.points) if (Number.isFinite(y)) top = Math.max(top, y);
    return niceAbove(top);
  }
}

/** The whole picture. */
export class Chart {
  private readonly title: string;
  private readonly xName: string;
  private readonly from: number;
  private readonly to: number;
  private readonly panels: Panel[] = [];

  constructor(title: string, xName: string, from: number, to: number) {
    this.title = title;
    this.xName = xName;
    this.from = from;
    this.to = to;
  }

  panel(unit: string, most?: number): Panel {
    const panel = new Panel(unit, most);
    this.panels.push(panel);
    return panel;
  }

  /** The picture as SVG. */
  text(): string {
    const height = TOP + this.panels.length * (PANEL_HEIGHT + GAP) + 20;
    const out = [
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
      `<title>${escapeText(this.title)}</title>`,
      `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
      `<text x="${LEFT}" y="22" font-size="15" fill="#222">${escapeText(this.title)}</text>`,
    ];
    this.panels.forEach((panel, i) => {
      out.push(...this.draw(panel, TOP + i * (PANEL_HEIGHT + GAP), i === this.panels.length - 1));
    });
    out.push('</svg>', '');
    return out.join('\n');
  }

  private draw(panel: Panel, y0: number, isLast: boolean): string[] {
    const { top } = panel;
    const width = WIDTH - LEFT - RIGHT;
    const x = (v: number) => LEFT + ((v - this.from) / (this.to - this.from)) * width;
    const y = (v: number) => y0 + PANEL_HEIGHT * (1 - Math.max(0, Math.min(v, top)) / top);
    const out: string[] = [];
    for (const b of panel.bands) {
      out.push(
        `<rect x="${r(x(b.from))}" y="${y0}" width="${r(x(b.to) - x(b.from))}" height="${PANEL_HEIGHT}" fill="#f3e3e3"/>`,
        `<text x="${r(x(b.from) + 4)}" y="${y0 + 14}" fill="#a05050">${escapeText(b.name)}</text>`,
      );
    }
    for (let i = 0; i <= 4; i++) {
      const v = (top * i) / 4;
      out.push(
        `<line x1="${LEFT}" x2="${LEFT + width}" y1="${r(y(v))}" y2="${r(y(v))}" stroke="#e4e4e4"/>`,
        `<text x="${LEFT - 6}" y="${r(y(v) + 4)}" text-anchor="end" fill="#555">${Number(v.toPrecision(3))}</text>`,
      );
    }
    out.push(`<text x="${LEFT}" y="${y0 - 6}" fill="#555">${escapeText(panel.unit)}</text>`);
    const step = niceAbove((this.to - this.from) / 10);
    for (let v = Math.ceil(this.from / step) * step; v <= this.to + 1e-9; v += step) {
      out.push(
        `<line x1="${r(x(v))}" x2="${r(x(v))}" y1="${y0 + PANEL_HEIGHT}" y2="${y0 + PANEL_HEIGHT + 4}" stroke="#999"/>`,
        `<text x="${r(x(v))}" y="${y0 + PANEL_HEIGHT + 17}" text-anchor="middle" fill="#555">${Number(v.toPrecision(3))}</text>`,
      );
    }
    if (isLast) {
      out.push(
        `<text x="${LEFT + width}" y="${y0 + PANEL_HEIGHT + 34}" text-anchor="end" fill="#555">${escapeText(this.xName)}</text>`,
      );
    }
    panel.lines.forEach((l, i) => {
      const colour = COLOURS[i % COLOURS.length];
      const points = l.points.filter(([px, py]) => px >= this.from && px <= this.to && Number.isFinite(py));
      const path = points.map(([px, py]) => `${r(x(px))},${r(y(py))}`).join(' ');
      const dash = l.dashed ? ' stroke-dasharray="5 4"' : '';
      out.push(
        `<polyline fill="none" stroke="${colour}" stroke-width="1.5"${dash} points="${path}"/>`,
        `<line x1="${LEFT + width + 12}" x2="${LEFT + width + 30}" y1="${y0 + 12 + 18 * i}" y2="${y0 + 12 + 18 * i}" stroke="${colour}" stroke-width="2"${dash}/>`,
        `<text x="${LEFT + width + 36}" y="${y0 + 16 + 18 * i}" fill="#222">${escapeText(l.name)}</text>`,
      );
    });
    return out;
  }
}

function niceAbove(v: number): number {
  if (v <= 0) return 1;
  const unit = 10 ** Math.floor(Math.log10(v));
  for (const m of [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10]) if (m * unit >= v - 1e-12) return m * unit;
  return 10 * unit;
}

function r(v: number): number {
  return Math.round(v * 10) / 10;
}

function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
