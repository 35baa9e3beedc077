/* Dark knowledge: how a teacher shares among the wrong classes what it does not give to the right one. */

const knowing = () => study.configurations.filter((one) => one.dark_knowledge);

/** The teacher that is drawn: the one chosen, else the first ticked, else the first of all. */
const drawnTeacher = () => {
  const known = knowing();
  return known.find((one) => one.id === state.teacher) ?? ticked().find((one) => known.includes(one)) ?? known[0];
};

/** The share of every wrong class where none is preferred. */
const evenShare = ({ class_names: names }) => 1 / (names.length - 1);

/** The defined cells: true class, other class, share. */
const sharedCells = ({ shares }) => shares.flatMap((row, y) =>
  row.map((share, x) => ({ x, y, share })).filter(({ share }) => share !== null));

const SHADES = 33;
const LEAST_REACH = 1e-3; // of the colours, where a teacher prefers nothing

/** Pale at the even share, orange above it and blue below, each as deep as far from it; no share is below 0. */
const shareScale = (told) => {
  const even = evenShare(told);
  const reach = largest([LEAST_REACH, ...sharedCells(told).map(({ share }) => Math.abs(share - even))]);
  const { paper, loss, gain } = mapColours();
  const [min, max] = [Math.max(0, even - reach), even + reach];
  const shade = (_, place) => echarts.color.lerp(
    ((min + (place / (SHADES - 1)) * (max - min) - even) / reach + 1) / 2, [gain[1], gain[0], paper, ...loss]);
  return { min, max, inRange: { color: Array.from({ length: SHADES }, shade) } };
};

const darkKnowledgeOption = () => {
  const told = drawnTeacher().dark_knowledge;
  const { class_names: names } = told;
  const scale = shareScale(told);
  const room = (kd.byId("dark-knowledge").clientWidth - 170) / names.length; // pixels for a column
  const most = scale.max - evenShare(told);
  const cells = sharedCells(told).map(({ x, y, share }) => (
    { value: [x, y, share], label: { color: inkOn(Math.abs(share - evenShare(told)), most) } }));
  const axis = { type: "category", data: names, axisLine: { show: false } };
  const label = { interval: 0, width: 92, overflow: "truncate" };
  const steep = largest(names.map((name) => name.length)) * 7 > room;
  return {
    grid: { left: 128, right: 12, top: 12, bottom: steep ? 172 : 96 },
    tooltip: {
      trigger: "item",
      confine: true,
      formatter: ({ value: [x, y, share] }) =>
        kd.tip(`${names[y]} looks like ${names[x]}`, [["share among the wrong classes", kd.fixed(share)]]),
    },
    xAxis: { ...axis, name: "other class", nameLocation: "middle", nameGap: steep ? 104 : 28,
      axisLabel: { ...label, rotate: steep ? 90 : 0 } },
    yAxis: { ...axis, name: "true class", nameLocation: "middle", nameGap: 108, inverse: true, axisLabel: label },
    ...heatMap({ scale, left: 48, data: cells, numbered: room >= 30, write: (share) => kd.fixed(share, 2) }),
  };
};

const darkKnowledgeFigure = {
  id: "dark-knowledge",
  title: "What a teacher says of the wrong classes",
  wide: true,
  available: () => knowing().length > 0,
  controls: () => kd.element("span", { id: "teacher-choice" }),
  refreshControls: () => {
    if (knowing().length < 2) return;
    const options = knowing().map((one) => [one.id, one.label]);
    const choose = (teacher) => change({ teacher });
    kd.byId("teacher-choice").replaceChildren(choice("teacher", "Teacher", options, drawnTeacher().id, choose));
  },
  height: () => 200 + 30 * drawnTeacher().dark_knowledge.class_names.length,
  shows: () => drawnTeacher().id,
  option: darkKnowledgeOption,
  caption: () => {
    const { label, dark_knowledge: told } = drawnTeacher();
    const [top] = sharedCells(told).sort((one, other) => other.share - one.share);
    return `${label}, ${told.set} set, T = ${told.temperature}, mean of ${kd.count(told.n, "teacher")}. A row is a ` +
      "true class; its cells say how the probability that is left for the wrong classes is shared among them, so a " +
      `row sums to 1: orange is more, blue less than ${kd.fixed(evenShare(told), 2)}, the share of each without any ` +
      `preference. The strongest: ${told.class_names[top.y]} looks like ${told.class_names[top.x]} ` +
      `(${kd.fixed(top.share, 2)}).`;
  },
  numbers: () => {
    const told = drawnTeacher().dark_knowledge;
    return {
      columns: [
        { key: "true", label: "True class", header: true, value: (y) => told.class_names[y] },
        ...told.class_names.map((name, x) => ({
          key: `other-${x}`,
          label: name,
          number: true,
          value: (y) => told.shares[y][x],
          cell: (y) => kd.fixed(told.shares[y][x]),
        })),
      ],
      rows: told.shares.map((_, y) => y),
    };
  },
};
