/* Reliability: is a network right as often as it is sure? One line for each item compared, the counts below. */

const MOST_LINES = 8;

const withBins = () => compared().filter((item) => item.bins).slice(0, MOST_LINES);

/** The bins that hold examples, each with its share of all. */
const filledBins = ({ count, confidence, accuracy }) => {
  const total = count.reduce((sum, number) => sum + number, 0);
  const bins = count.map((number, bin) => (
    { bin, number, share: number / total, confidence: confidence[bin], accuracy: accuracy[bin] }
  ));
  return bins.filter(({ number }) => number > 0);
};

/** Where accuracy equals confidence. */
const diagonal = () => ({
  type: "line",
  silent: true,
  symbol: "none",
  data: [[0, 0], [1, 1]],
  tooltip: { show: false },
  lineStyle: { color: kd.colour("soft"), width: 1, type: "dashed" },
});

const binTip = ({ data }) => kd.tip(study.byId.get(data.id).label, [
  ["mean confidence", kd.fixed(data.value[0])],
  ["accuracy", kd.fixed(data.value[1])],
  ["examples", kd.number(data.number)],
]);

/** Accuracy over mean confidence; a bin of few examples is a small point. */
const reliabilityLine = (item, name, colour) => ({
  type: "line",
  name,
  color: colour,
  symbol: "circle",
  symbolSize: (_, { data }) => 4 + 9 * Math.sqrt(data.share),
  lineStyle: { width: 2 },
  data: filledBins(item.bins).map((one) => ({ ...one, value: [one.confidence, one.accuracy], id: item.id })),
});

/** The share of the examples in every bin, as steps. */
const shareLine = (item, name, colour) => {
  const shares = new Map(filledBins(item.bins).map(({ bin, share }) => [bin, share]));
  const { length } = item.bins.count;
  return {
    type: "line",
    step: "middle",
    name,
    color: colour,
    xAxisIndex: 1,
    yAxisIndex: 1,
    symbol: "none",
    silent: true,
    tooltip: { show: false },
    lineStyle: { width: 1.5 },
    areaStyle: { opacity: 0.08 },
    data: Array.from({ length }, (_, bin) => [(bin + 0.5) / length, shares.get(bin) ?? 0]),
  };
};

const reliabilityOption = () => {
  const shown = withBins();
  const named = shown.map((item) => {
    const name = `${shorten(item.label)}   ECE ${kd.fixed(item.value("test/ece"), 3)}`;
    return [item, name, colourOf(item)];
  });
  const top = 24 + 20 * shown.length; // below the legend
  const bare = { type: "value", axisLine: { show: false } };
  return {
    legend: {
      top: 0,
      left: 0,
      orient: "vertical",
      itemWidth: 16,
      itemHeight: 14,
      itemGap: 6,
      data: named.map(([, name]) => name),
    },
    tooltip: { trigger: "item", confine: true, formatter: binTip },
    grid: [
      { left: 52, right: 16, top, height: 236 },
      { left: 52, right: 16, top: top + 262, height: 54 },
    ],
    xAxis: [
      { ...bare, gridIndex: 0, min: 0, max: 1, axisLabel: { show: false } },
      { type: "value", gridIndex: 1, min: 0, max: 1, name: "confidence", nameLocation: "middle", nameGap: 26 },
    ],
    yAxis: [
      {
        ...bare,
        gridIndex: 0,
        min: 0,
        max: 1,
        name: "accuracy in the bin",
        nameGap: 8,
        nameTextStyle: { align: "left", padding: [0, 0, 0, -44] },
      },
      { ...bare, gridIndex: 1, splitNumber: 2, axisLabel: { formatter: (value) => `${Math.round(value * 100)} %` } },
    ],
    series: [
      diagonal(),
      ...named.map((one) => reliabilityLine(...one)),
      ...named.map((one) => shareLine(...one)),
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
  caption: () => {
    const pooled = state.level === "runs" ? "" : ", pooled over seeds";
    const rest = compared().length > MOST_LINES ? ` The first ${MOST_LINES} of ${compared().length} are drawn.` : "";
    return `Accuracy against mean confidence in 15 equal-width bins${pooled}; the larger a point, the more examples. ` +
      "Below the dashed line a network is over-confident, above it under-confident. Under it, the share of the test " +
      `set in each bin.${rest}`;
  },
  numbers: () => {
    const number = (key, label) => ({
      key,
      label,
      number: true,
      value: (row) => row[key],
      cell: (row) => kd.number(row[key]),
    });
    const ends = ({ bin, of }) => [bin, bin + 1].map((edge) => kd.fixed(edge / of, 2)).join(" to ");
    return {
      columns: [
        { key: "item", label: "Compared", header: true, value: (row) => row.item.label },
        { key: "bin", label: "Bin", value: ends },
        number("number", "Examples"),
        number("confidence", "Confidence"),
        number("accuracy", "Accuracy"),
      ],
      rows: withBins().flatMap((item) =>
        filledBins(item.bins).map((row) => ({ ...row, item, of: item.bins.count.length }))),
    };
  },
};
