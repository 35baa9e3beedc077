/* The metrics of one item in the panel, by what they speak of, each with its unit and its meaning. */

const SETS = { test: "On the test set", validation: "On validation", train: "On the training set" };
const PLACES = {
  "Shifts": ["ood"],
  "Cost": ["cost"],
  "Latency": ["latency", "throughput"],
};
const FIDELITY = ["agreement", "teacher_kl", "accuracy_vs_teacher", "ece_vs_teacher"];
const ARROWS = { higher: "↑", lower: "↓" };

/** `noise_1/gap` -> `["noise_1", "gap"]`. */
const splitKey = (key) => {
  const cut = key.lastIndexOf("/");
  return [key.slice(0, cut), key.slice(cut + 1)];
};

/** Title -> its keys; slices have a table of their own. */
const metricGroups = (keys) => {
  const known = Object.values(PLACES).flat();
  const groups = new Map();
  const put = (title, key) => groups.set(title, [...(groups.get(title) ?? []), key]);
  const order = [...Object.values(SETS), "Fidelity to the teacher", ...Object.keys(PLACES)];
  for (const title of order) groups.set(title, []);
  for (const key of keys) {
    const [place, quantity] = splitKey(key);
    if (place in study.slices) continue;
    if (FIDELITY.includes(quantity)) put("Fidelity to the teacher", key);
    else if (place in SETS) put(SETS[place], key);
    else if (known.includes(place)) put(Object.keys(PLACES).find((title) => PLACES[title].includes(place)), key);
    else put("Other", key);
  }
  return groups;
};

const metricParts = (item) => {
  const keys = Object.keys(study.keys);
  if (keys.every((key) => item.value(key) === null)) return [];
  const row = (key) => ({ key, text: item.value(key) === null ? null : item.shown(key), reason: item.reason(key) });
  const told = (key) => item.level === "runs" || item.value(key) !== null;
  const parts = [...metricGroups(keys)]
    .filter(([, found]) => found.some(told))
    .map(([title, found]) => part(title, metricTable(found.map(row))));
  const slices = Object.keys(study.slices);
  const sliced = slices.some((name) => item.value(`${name}/accuracy`) !== null);
  return sliced ? [...parts, part("Slices", sliceTable(item, slices, keys))] : parts;
};

const metricTable = (rows) => {
  const frame = kd.element("div", { class: "table-frame" });
  const facts = ({ key }) => study.keys[key] ?? {};
  const arrow = ({ direction }) => {
    const title = `${direction} is better`;
    return direction in ARROWS && kd.element("span", { class: "muted", title }, ` ${ARROWS[direction]}`);
  };
  const name = (row) => [kd.element("code", {}, row.key), arrow(facts(row))];
  const written = (row) => row.text ?? kd.number(row.value);
  const unit = (row) => facts(row).unit ?? "";
  const meaning = (row) => {
    const words = row.text === null && row.reason ? `undefined: ${row.reason}` : facts(row).meaning;
    return kd.element("span", { class: "meaning", title: facts(row).equation }, words ?? "");
  };
  kd.drawTable(frame, {
    rows,
    columns: [
      { key: "key", label: "Key", header: true, value: (row) => row.key, cell: name },
      { key: "value", label: "Value", number: true, value: (row) => row.value, cell: written },
      { key: "unit", label: "Unit", class: "muted", value: unit },
      { key: "meaning", label: "Meaning", value: () => "", cell: meaning },
    ],
  });
  return frame;
};

/** Rows are slices, columns what was measured on them; what is undefined on all of them is told below. */
const sliceTable = (item, slices, keys) => {
  const words = (quantity) => quantity.replaceAll("_", " ");
  const ofSlices = keys.map(splitKey).filter(([place]) => place in study.slices);
  const quantities = [...new Set(ofSlices.map(([, quantity]) => quantity))];
  const some = (quantity) => slices.some((name) => item.value(`${name}/${quantity}`) !== null);
  const first = (quantity) => ["accuracy", "gap"].indexOf(quantity);
  const shown = quantities.filter(some).sort((one, other) => first(other) - first(one) || kd.compare(one, other));
  const missing = quantities.filter((quantity) => !some(quantity));
  const frame = kd.element("div", { class: "table-frame" });
  const name = (slice) => [slice, !study.slices[slice].ood && kd.element("span", { class: "muted" }, " (not OOD)")];
  kd.drawTable(frame, {
    rows: slices,
    columns: [
      { key: "slice", label: "Slice", header: true, value: (slice) => slice, cell: name },
      ...shown.map((quantity) => sliceColumn(item, quantity, words(quantity))),
      { key: "reference", label: "Reference", value: (slice) => study.slices[slice].reference },
    ],
  });
  const reasons = missing.map((quantity) => `${words(quantity)} (${item.reason(`${slices[0]}/${quantity}`)})`);
  const note = kd.element("p", { class: "note" }, `Undefined on every slice: ${reasons.join("; ")}.`);
  return [frame, missing.length > 0 && note];
};

const sliceColumn = (item, quantity, label) => {
  const key = (slice) => `${slice}/${quantity}`;
  const nothing = (slice) => kd.element("span", { class: "muted", title: item.reason(key(slice)) }, kd.NOTHING);
  return {
    key: quantity,
    label,
    title: meaningOf(key(Object.keys(study.slices)[0])),
    number: true,
    value: (slice) => item.value(key(slice)),
    cell: (slice) => (item.value(key(slice)) === null ? nothing(slice) : item.shown(key(slice))),
  };
};
