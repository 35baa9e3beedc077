/* Charts: ECharts in the design of the page. It draws SVG (sharp in print, its labels are text), without animation. */

const charts = new Set();

/** How a chart looks: what ECharts calls a theme, from the tokens of the page. */
kd.chartTheme = () => {
  const [ink, soft, line, surface] = ["ink", "soft", "line", "surface"].map(kd.colour);
  const axis = {
    axisLine: { show: true, lineStyle: { color: soft, width: 1 } },
    axisTick: { show: false },
    axisLabel: { color: soft, fontSize: 12 },
    splitLine: { lineStyle: { color: line, width: 1 } },
    nameTextStyle: { color: soft, fontSize: 12.5 },
  };
  return {
    backgroundColor: "transparent",
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: ink },
    color: kd.SERIES.map(kd.colour),
    categoryAxis: { ...axis, splitLine: { show: false } },
    valueAxis: axis,
    logAxis: axis,
    legend: { textStyle: { color: ink, fontSize: 12.5 }, inactiveColor: soft },
    tooltip: {
      backgroundColor: surface,
      borderColor: line,
      borderWidth: 1,
      padding: [8, 12],
      textStyle: { color: ink, fontSize: 13 },
    },
  };
};

/** The tokens of the colours of lines and points, the four that say who a run is first. */
kd.SERIES = ["student", "teacher", "scratch", "uniform", "series-5", "series-6", "series-7", "series-8"];

/** A chart in an element: `draw()` gives its option, and is asked again when the theme changes.

    Returns `{draw, chart, remove}`: `draw()` draws anew, `chart` is the instance of ECharts, for its events. */
kd.chart = (element, draw) => {
  const made = { chart: null };
  const begin = () => {
    made.chart?.dispose();
    made.chart = echarts.init(element, kd.chartTheme(), { renderer: "svg" });
    made.onBegin?.(made.chart);
  };
  made.draw = () => {
    if (!made.chart) begin();
    const option = draw();
    if (option) made.chart.setOption({ animation: false, ...option }, { notMerge: true });
  };
  made.restart = () => {
    begin();
    made.draw();
  };
  made.remove = () => {
    observer.disconnect();
    made.chart?.dispose();
    charts.delete(made);
  };
  const observer = new ResizeObserver(() => {
    const { width, height } = element.getBoundingClientRect();
    if (made.chart && width && height && !kd.printing) made.chart.resize({ width, height });
  });
  observer.observe(element);
  charts.add(made);
  return made;
};

kd.onTheme(() => charts.forEach((made) => made.chart && made.restart()));

/** A tooltip: a name and rows of name and value, all of it text. */
kd.tip = (name, rows) => {
  const lines = rows.map(([label, value]) =>
    `<span class="row"><span>${kd.escape(label)}</span><span>${kd.escape(value)}</span></span>`);
  return `<div class="chart-tip"><span class="name">${kd.escape(name)}</span>${lines.join("")}</div>`;
};

// On paper a chart is as wide as the page and light, whatever the screen was.
const PAPER_WIDTH = 680;
addEventListener("beforeprint", () => {
  kd.printing = document.documentElement.dataset.theme ?? "system";
  kd.setTheme("light");
  charts.forEach((made) => made.chart?.resize({ width: PAPER_WIDTH }));
});
addEventListener("afterprint", () => {
  const before = kd.printing;
  kd.printing = null;
  kd.setTheme(before === "system" ? null : before);
  charts.forEach((made) => made.chart?.resize({ width: "auto" }));
});
