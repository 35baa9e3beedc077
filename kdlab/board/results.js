/* Results so far: the report's table over the runs that are there, made when somebody opens it. */

const AT_MOST_EVERY_MS = 15000;
const REST = 20; // a study of ten thousand runs takes seconds: the sweep has the machine twenty times as long
const RESULTS_WAIT_MS = 300000;

const resultsPart = (name) => {
  const note = kd.element("p", { class: "note" });
  const frames = kd.element("div", {});
  const title = kd.element("h2", {});
  const details = kd.element("details", {}, kd.element("summary", {}, title), note, frames);
  const element = kd.element("section", { class: "card results" }, details);
  const state = { version: null, made: null, next: 0, etag: null, study: null };

  const draw = (answer) => {
    frames.replaceChildren(...answer.tables.map((table) => {
      const frame = kd.element("div", { class: "table-frame", tabindex: 0, role: "region", "aria-label": table.title });
      const text = ["Setting", "Verdict", "Against"];
      kd.drawTable(frame, {
        caption: `On ${table.data}${table.all > table.rows.length ? `, the first ${table.rows.length} of ${table.all} rows` : ""}`,
        columns: table.columns.map((label, at) => ({
          key: String(at),
          label,
          header: at === 0,
          number: !text.includes(label),
          value: (row) => row[at],
          cell: (row) => (label === "Verdict" && row[at] !== kd.NOTHING ? kd.verdict(row[at]) : strong(row[at])),
        })),
        rows: table.rows,
      });
      return frame;
    }));
  };

  /** The tables mark the best row with two stars on both sides, as Markdown does. */
  const strong = (text) =>
    text.split("**").map((part, at) => (at % 2 ? kd.element("strong", {}, part) : part));

  const make = async () => {
    if (!details.open || state.version === state.made || Date.now() < state.next) return;
    const version = state.version;
    const asked = Date.now();
    state.next = Infinity;
    if (!frames.children.length) setText(note, "Reading the records");
    try {
      const answer = await ask(`/api/results/${encodeURI(name)}`, state.etag, RESULTS_WAIT_MS);
      state.made = version;
      state.etag = answer.etag;
      if (answer.status === 404) setText(note, answer.value.error);
      if (answer.status !== 200) return;
      draw(answer.value);
      const { counts: { finished }, total } = state.study;
      const known = total ? `${finished < total ? "Provisional" : "Complete"}: ${finished} of ${total} runs, at ${clock(Date.now() / 1000)}. ` : "";
      setText(note, `${known}± and brackets: ${100 * answer.value.level} % intervals over n units; differences are paired.`);
    } catch (problem) {
      if (!(problem instanceof TypeError || problem instanceof DOMException)) throw problem;
      connection.set("lost"); // asked again with the next change
    } finally {
      const now = Date.now();
      const rest = Math.max(AT_MOST_EVERY_MS, REST * (now - asked));
      state.next = now + rest;
      setTimeout(make, rest + 1); // what came meanwhile
    }
  };
  details.addEventListener("toggle", make);
  return {
    element,
    update: (study) => {
      state.study = study;
      setText(title, study.counts.finished < study.total ? "Results so far" : "Results");
      state.version = JSON.stringify(study.counts);
      element.hidden = !study.counts.finished && !study.reported;
      if (!state.opened && study.counts.finished === study.total) state.opened = details.open = true;
      make();
    },
  };
};
