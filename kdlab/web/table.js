/* A table that sorts by its headings, with the mouse and with the keyboard.

   A column: `key`, `label`, `title` (what it means), `number` (right-aligned, sorts by value), `value(row)` to sort by,
   `cell(row)` to show (text or a node; the value where it is left out), `header` (the cell names its row). Rows without
   a value stay last whichever way it sorts. */

/** Compare two values: numbers by size, also written ones (0.003 before 0.01), text as people read it (noise_2 before
    noise_10). */
kd.compare = (one, other) => {
  const [first, second] = [one, other].map((value) => (value === "" ? NaN : Number(value)));
  if (!Number.isNaN(first) && !Number.isNaN(second)) return first - second;
  return kd.collator.compare(String(one), String(other));
};
kd.collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** Rows sorted by a column, stable; `sort` is `{key, down}`. */
kd.sorted = (rows, columns, sort) => {
  const column = columns.find((one) => one.key === sort?.key);
  if (!column) return [...rows];
  const missing = (value) => value === null || value === undefined || value === "" || Number.isNaN(value);
  const keyed = rows.map((row) => [column.value(row), row]);
  keyed.sort(([one], [other]) => {
    if (missing(one) || missing(other)) return missing(one) - missing(other);
    return sort.down ? kd.compare(other, one) : kd.compare(one, other);
  });
  return keyed.map(([, row]) => row);
};

/** The sort after a click on a heading: numbers begin with the largest, text with the first letter. */
kd.nextSort = (sort, column) => ({
  key: column.key,
  down: sort?.key === column.key ? !sort.down : Boolean(column.number && !column.smallFirst),
});

const heading = (column, sort, onSort) => {
  const sorted = sort?.key === column.key;
  const attributes = {
    scope: "col",
    class: column.number ? "number" : null,
    title: column.title,
    "data-key": column.key,
    "aria-sort": sorted ? (sort.down ? "descending" : "ascending") : null,
  };
  if (!onSort || column.unsorted) return kd.element("th", attributes, column.label);
  const button = kd.element(
    "button", { type: "button", onclick: () => onSort(kd.nextSort(sort, column)) }, column.label);
  return kd.element("th", attributes, button);
};

const bodyRow = (row, columns, rowAttributes) =>
  kd.element("tr", rowAttributes?.(row), columns.map((column) => {
    const shown = column.cell ? column.cell(row) : column.value(row);
    const attributes = { class: column.number ? "number" : column.class };
    if (column.header) attributes.scope = "row";
    return kd.element(column.header ? "th" : "td", attributes, shown ?? kd.NOTHING);
  }));

/** Draw a table into a frame; `onSort(sort)` is told when a heading is clicked, and the caller draws again.

    The focus stays on the heading that was used. */
kd.drawTable = (frame, { columns, rows, sort = null, onSort = null, caption = null, rowAttributes = null }) => {
  const focused = frame.contains(document.activeElement)
    ? document.activeElement.closest("th")?.dataset.key
    : undefined;
  const table = kd.element("table", { class: "data" },
    caption && kd.element("caption", {}, caption),
    kd.element("thead", {}, kd.element("tr", {}, columns.map((column) => heading(column, sort, onSort)))),
    kd.element("tbody", {}, rows.map((row) => bodyRow(row, columns, rowAttributes))));
  frame.replaceChildren(table);
  if (focused !== undefined) table.querySelector(`th[data-key="${CSS.escape(focused)}"] button`)?.focus();
  return table;
};
