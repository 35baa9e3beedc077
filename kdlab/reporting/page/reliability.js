/* Reliability: is a network right as often as it is sure? One line for each item compared, the counts below. */

const MOST_LINES = 8;

const withBins = () => compared().filter((item) => item.bins).slice(0, MOST_LINES);

const filledBins = ({ count, confidence, accuracy }) => count.map((number, bin) => ({ bin, number, confidence: confidence[bin], accuracy: accuracy[bin] }))
  .filter(({ number }) => number > 0);

const total = ({ count }) => count.reduce((sum, number) => sum + number, 0);

const reliabilityOption = () => {
  const shown = withBins();
  const names = new Map(shown.map((item) => [item.id, `${shorten(item.label)}   ECE ${kd.fixed(item.value("test/ece"), 3)}`]));
  const common = { axisLine: { show: false } };
  const share = (value) => `${Math.round(value * 100)} %`;
  const line = (item) => ({
    type: "line", name: names.get(item.id), symbol: "circle", color: colourOf(item), lineStyle: { width: 2 },
    symbolSize: (_, { data }) => 4 + 9 * Math.sqrt(data.share), // a bin of few examples is a small point
    data: filledBins(item.bins).map(({ confidence, accuracy, number }) => ({ value: [confidence, accuracy], id: item.id, number,
      share: number / total(item.bins) })),
  });
  const counts = (item) => ({
    type: "line", step: "middle", name: names.get(item.id), xAxisIndex: 1, yAxisIndex: 1, symbol: "none", color: colourOf(item),
    lineStyle: { width: 1.5 }, areaStyle: { opacity: 0.08 }, silent: true, tooltip: { show: false },
    data: item.bins.count.map((number, bin) => [(bin + 0.5) / item.bins.count.length, number / total(item.bins)]),
  });
  const top = 10 + 20 * shown.length;
  return {
    legend: { top: 0, left: 0, orient: "vertical", itemWidth: 16, itemHeight: 14, itemGap: 6, data: shown.map((item) => names.get(item.id)) },
    tooltip: { trigger: "item", confine: true, formatter: ({ data }) => kd.tip(study.byId.get(data.id).label, [
      ["mean confidence", kd.fixed(data.value[0])], ["accuracy", kd.fixed(data.value[1])], ["examples", kd.number(data.number)]]) },
    grid: [{ left: 52, right: 16, top: top + 14, height: 236 }, { left: 52, right: 16, top: top + 276, height: 54 }],
    xAxis: [
      { type: "value", min: 0, max: 1, gridIndex: 0, axisLabel: { show: false }, ...common },
      { type: "value", min: 0, max: 1, gridIndex: 1, name: "confidence", nameLocation: "middle", nameGap: 26 },
    ],
    yAxis: [
      { type: "value", min: 0, max: 1, gridIndex: 0, name: "accuracy in the bin", nameTextStyle: { align: "left", padding: [0, 0, 0, -44] }, nameGap: 8, ...common },
      { type: "value", gridIndex: 1, splitNumber: 2, axisLabel: { formatter: share }, ...common },
    ],
    series: [
      { type: "line", silent: true, symbol: "none", data: [[0, 0], [1, 1]], tooltip: { show: false }, lineStyle: { color: kd.colour("soft"), width: 1, type: "dashed" } },
      ...shown.map(line), ...shown.map(counts),
    ],
  };
};

const reliabilityFigure = {
  id: "reliability",
  title: "Reliability on the test set",
  available: () => study.configurations.some((item) => item.bins),
  height: () => 390 + 20 * withBins().length,
  shows: () => `${state.level}|${idsOf(withBins())}`,
  option: reliabilityOption,
  caption: () => "Accuracy against mean confidence in 15 equal-width bins" + (state.level === "runs" ? "" : ", pooled over seeds") +
    "; the larger a point, the more examples. Below the dashed line a network is over-confident, above it under-confident. Under it, the share of the test set in each bin." +
    (compared().length > MOST_LINES ? ` The first ${MOST_LINES} of ${compared().length} are drawn.` : ""),
  numbers: () => ({
    columns: [
      { key: "item", label: "Compared", header: true, value: (row) => row.item.label },
      { key: "bin", label: "Bin", value: (row) => `${kd.fixed(row.bin / row.of, 2)} to ${kd.fixed((row.bin + 1) / row.of, 2)}` },
      ...["number", "confidence", "accuracy"].map((key) => ({ key, label: { number: "Examples" }[key] ?? key, number: true, value: (row) => row[key],
        cell: (row) => kd.number(row[key]) })),
    ],
    rows: withBins().flatMap((item) => filledBins(item.bins).map((row) => ({ item, of: item.bins.count.length, ...row }))),
  }),
};
