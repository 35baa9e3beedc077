/* What the heat maps share: the colours' legend, and cells with their numbers in an ink that can be read on them. */

/** The ink of a cell, by how deep its colour is: 0 is paper, `most` the deepest. */
const inkOn = (depth, most) => {
  if (depth <= 0.78 * most) return kd.colour("ink");
  return kd.isDark() ? "#141619" : "#ffffff";
};

/** Legend and cells of an option: `scale` has min, max and colours, `numbered` says whether a number has room. */
const heatMap = ({ scale, left, data, numbered, write }) => ({
  visualMap: {
    type: "continuous",
    ...scale,
    orient: "horizontal",
    left,
    bottom: 4,
    itemWidth: 12,
    itemHeight: 160,
    text: [kd.number(scale.max, 2), kd.number(scale.min, 2)],
    textStyle: { color: kd.colour("soft") },
  },
  series: {
    type: "heatmap",
    progressive: 0,
    data,
    itemStyle: { borderColor: kd.colour("surface"), borderWidth: 1 },
    label: { show: numbered, fontSize: 10.5, formatter: ({ value }) => write(value[2]) },
    emphasis: { itemStyle: { borderColor: kd.colour("ink"), borderWidth: 1.5 } },
  },
});
