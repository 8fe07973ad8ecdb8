// Rows of text with columns that line up.

/** Pads all columns but the last to their widest cell; `paint` colours the first. */
export function columns(rows: readonly (readonly string[])[], paint: (text: string) => string = (text) => text): string[] {
  const widths = rows.reduce<number[]>((most, row) => row.map((cell, i) => Math.max(most[i] ?? 0, cell.length)), []);
  return rows.map((row) =>
    row
      .map((cell, i) => {
        const padding = i < row.length - 1 ? " ".repeat(widths[i] - cell.length + 2) : "";
        return (i === 0 ? paint(cell) : cell) + padding;
      })
      .join("")
      .trimEnd(),
  );
}
