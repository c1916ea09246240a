import type { ColumnName, Results } from "./results.ts";
import { significant } from "./statistics.ts";

/** The panels of the chart. */
const panels: readonly {
  readonly title: string;
  readonly workload: string;
  readonly column: ColumnName;
}[] = [
  {
    title: "Calls per second, 100 B, 64 in flight",
    workload: "unary_100B_c64",
    column: "callsPerSecond",
  },
  {
    title: "Round trip in us, 100 B, one in flight (lower is better)",
    workload: "unary_100B_c1",
    column: "p50Us",
  },
  {
    title: "Streamed messages per second, 100 B",
    workload: "server_stream_100B",
    column: "callsPerSecond",
  },
  {
    title: "MiB of server memory under load (lower is better)",
    workload: "unary_100B_c64",
    column: "serverLoadMiB",
  },
];

const WIDTH = 760;
const NAMES = 110;
const BARS = WIDTH - NAMES - 90;
const ROW = 22;
const HEAD = 34;
const GAP = 18;

// Colours that can be read on white and on black; the text follows the reader's colour scheme.
const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; }
  .bar { fill: #8c959f; }
  .ours { fill: #1a7f37; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .bar { fill: #6e7681; }
    .ours { fill: #3fb950; }
  }
`;

/** The most important figures, as bars in an SVG image. */
export function chart(results: Results, contenders: readonly string[]): string {
  const parts: string[] = [];
  let y = 0;
  for (const { title, workload, column } of panels) {
    const bars = contenders.flatMap((name) => {
      const value = results.figure(name, workload, column)?.median;
      // The raw echo reads and writes hundreds of messages at once, and would dwarf the others.
      return value === undefined || (name === "raw" && column === "callsPerSecond")
        ? []
        : [{ name, value }];
    });
    if (bars.length === 0) continue;
    const most = Math.max(...bars.map(({ value }) => value));
    parts.push(text(0, y + 20, title, "title"));
    y += HEAD;
    for (const { name, value } of bars) {
      const length = Math.max(1, Math.round(value / most * BARS));
      parts.push(
        text(0, y + 13, name),
        `<rect class="${name === "ours" ? "bar ours" : "bar"}" x="${NAMES}" y="${y}" ` +
          `width="${length}" height="16" rx="2"/>`,
        text(NAMES + length + 6, y + 13, significant(value)),
      );
      y += ROW;
    }
    y += GAP;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" role="img" ` +
    `aria-label="Benchmark figures">\n<style>${STYLE}</style>\n${parts.join("\n")}\n</svg>\n`;
}

function text(x: number, y: number, content: string, kind?: string): string {
  const name = kind === undefined ? "" : ` class="${kind}"`;
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text${name} x="${x}" y="${y}">${escaped}</text>`;
}
