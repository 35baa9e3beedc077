/* The charts of one run in the panel: its curves in small multiples, its reliability. */

const ROW_HEIGHT = 150;

const panelCharts = [];

const clearPanelCharts = () => panelCharts.splice(0).forEach((made) => made.remove());

/** They are drawn once they are in the document and have a size. */
const drawPanelCharts = () => panelCharts.forEach((made) => made.draw());

const panelChart = (height, words, option) => {
  const element = kd.element("div", { class: "chart", role: "img", "aria-label": words });
  element.style.setProperty("--height", `${height}px`);
  panelCharts.push(kd.chart(element, option));
  return element;
};

/** Curves in small multiples: each has a scale of its own. */
const panelCurves = (run) => {
  const keys = run.curveKeys;
  const columns = innerWidth < 560 ? 1 : 2;
  const share = 100 / columns; // percent of the width
  const left = (place) => (place % columns) * share;
  const top = (place) => Math.floor(place / columns) * ROW_HEIGHT;
  const title = (key, place) => ({
    text: key,
    left: `${left(place)}%`,
    top: top(place),
    textStyle: { fontSize: 12, fontWeight: 600, color: kd.colour("ink") },
  });
  const line = (key, place) => ({
    type: "line",
    name: key,
    xAxisIndex: place,
    yAxisIndex: place,
    symbol: "none",
    data: pairs(run.curve(key)),
    color: kd.colour(run.kind),
    lineStyle: { width: 1.8 },
  });
  const place = (_, number) => (
    { left: `${left(number) + 8}%`, width: `${share - 12}%`, top: top(number) + 28, height: 88 }
  );
  const words = `Training curves of this run: ${keys.join(", ")}`;
  return panelChart(ROW_HEIGHT * Math.ceil(keys.length / columns), words, () => ({
    title: keys.map(title),
    tooltip: {
      trigger: "axis",
      confine: true,
      formatter: ([{ seriesName, value }]) =>
        kd.tip(seriesName, [["step", kd.number(value[0])], ["value", kd.number(value[1])]]),
    },
    grid: keys.map(place),
    xAxis: keys.map((_, gridIndex) => ({
      type: "value",
      gridIndex,
      max: "dataMax",
      splitLine: { show: false },
      axisLabel: { fontSize: 10, hideOverlap: true },
    })),
    yAxis: keys.map((_, gridIndex) => ({
      type: "value",
      gridIndex,
      scale: true,
      splitNumber: 3,
      axisLine: { show: false },
      axisLabel: { fontSize: 10, formatter: (value) => kd.number(value, 2) },
    })),
    series: keys.map(line),
  }));
};

const panelReliability = (run) =>
  panelChart(240, "Reliability of this run: accuracy against mean confidence", () => ({
    grid: { left: 44, right: 12, top: 14, bottom: 40 },
    tooltip: { trigger: "item", confine: true, formatter: binTip },
    xAxis: { type: "value", min: 0, max: 1, name: "confidence", nameLocation: "middle", nameGap: 26 },
    yAxis: { type: "value", min: 0, max: 1, axisLine: { show: false } },
    series: [diagonal(), reliabilityLine(run, "", kd.colour(run.kind))],
  }));
