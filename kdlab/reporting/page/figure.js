/* A figure: title, controls, chart, caption, and its numbers as a table that is made when it is opened.

   A figure is described by `{id, title, caption(), option(), numbers(), available(), controls?, height?, wide?}`; it is
   drawn when it comes near the screen and drawn again when what it shows has changed. */

const figures = [];

const buildFigures = (section, described) => {
  const missing = described.filter((one) => !one.available()).map((one) => one.title.toLowerCase());
  section.append(kd.element("h2", { class: "visually-hidden" }, "Figures"),
    kd.element("div", { class: "figure-grid" }, described.filter((one) => one.available()).map(buildFigure)));
  if (missing.length) {
    section.append(kd.element(
      "p", { class: "note" }, `Not drawn, for want of numbers or of something to compare: ${missing.join("; ")}.`));
  }
  onChange(() => figures.forEach((one) => one.refresh()));
  kd.onTheme(() => figures.forEach((one) => (one.drawn = null)));
  addEventListener("beforeprint", () => figures.forEach((one) => one.show()));
};

const buildFigure = (described) => {
  const area = kd.element("div", { class: "chart", role: "img", "aria-labelledby": `${described.id}-title`,
    "aria-describedby": `${described.id}-caption` });
  const caption = kd.element("figcaption", { id: `${described.id}-caption` });
  const numbers = kd.element(
    "div", { class: "table-frame numbers", tabindex: "0", role: "region", "aria-label": `Numbers: ${described.title}` }
  );
  const details = kd.element("details", { class: "screen-only" }, kd.element("summary", {}, "Numbers"), numbers);
  const figure = { ...described, near: false, drawn: null };
  figure.made = kd.chart(area, () => described.option());
  figure.made.onBegin = (chart) => described.onBegin?.(chart, figure);
  figure.element = kd.element("figure", { id: described.id, class: described.wide ? "card wide" : "card" },
    kd.element("div", { class: "figure-head" }, kd.element("h3", { id: `${described.id}-title` }, described.title),
      kd.element("div", { class: "toolbar" }, described.controls?.() ?? [])),
    kd.element("div", { class: "chart-frame" }, area), caption, details);

  const tell = () => {
    caption.textContent = described.caption();
    if (details.open) kd.drawTable(numbers, described.numbers());
  };
  figure.show = () => {
    figure.near = true;
    figure.refresh();
  };
  figure.refresh = () => {
    const shows = described.shows(); // what would be drawn, as a text
    if (!figure.near || shows === figure.drawn) return;
    figure.drawn = shows;
    area.style.setProperty("--height", `${described.height?.() ?? 340}px`);
    described.refreshControls?.();
    figure.made.draw();
    if (figure.made.chart) figure.made.chart.resize();
    described.afterDraw?.(figure.made.chart);
    tell();
  };
  details.addEventListener("toggle", tell);
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    figure.show();
  }, { rootMargin: "300px" }).observe(figure.element);
  figures.push(figure);
  return figure.element;
};

const idsOf = (some) => some.map((item) => item.id).join(",");

/** What most figures depend on: the items that are shown, those compared, and their colours. */
const shownSignature = () => `${state.level}|${idsOf(shownItems())}|${idsOf(compared())}`;

/** Rows of a tooltip: metrics of an item, with their intervals. */
const tipRows = (item, keys) => [
  ...study.knobs.filter(({ key }) => item.knob(key) !== null).map(({ key, name }) => [name, item.knob(key)]),
  ...keys.filter((key) => item.value(key) !== null).map((key) => [labelOf(key), sayInterval(item, key)]),
  ...(item.status === "failed" ? [["status", "failed"]] : []),
];

/** `0.6888 [0.6839, 0.6937], n = 16`. */
const sayInterval = (item, key) => {
  const { estimate, low, high, n } = item.interval(key);
  const ends = low === null || high === null ? "" : ` [${kd.number(low)}, ${kd.number(high)}]`;
  return `${kd.number(estimate)}${ends}${n > 1 ? `, n = ${n}` : ""}`;
};

/** A line of a figure's legend, whatever ECharts would make of a long name. */
const shorten = (text, most = 34) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

const choice = (id, label, options, chosen, onchange) =>
  kd.element("select", { id, "aria-label": label, onchange: (event) => onchange(event.target.value) },
    options.map(([value, text]) => kd.element("option", { value, selected: value === chosen }, text)));
