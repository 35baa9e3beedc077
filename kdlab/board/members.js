/* The members of a study: found by state and by words, fifty at a time, ticked to see their curves. */

const memberRow = (view) => () => {
  const tick = kd.element("input", { type: "checkbox" });
  const state = kd.element("span", { class: "state" });
  const name = kd.element("button", { type: "button", class: "link" });
  const arm = kd.element("td", {});
  const progress = kd.element("td", { class: "number" });
  const accuracy = kd.element("td", { class: "number" });
  const told = kd.element("td", { class: "told" });
  const element = kd.element("tr", {},
    kd.element("td", { class: "tick" }, tick), kd.element("td", {}, state), kd.element("th", { scope: "row" }, name),
    arm, progress, accuracy, told);
  let shown = null;
  tick.addEventListener("change", () => {
    view.tick(shown, tick.checked);
    update(shown);
  });
  name.addEventListener("click", () => view.open(shown.id));
  const update = (row) => {
    shown = row;
    const called = row.label || row.id;
    tick.checked = view.ticked.has(row.id);
    tick.setAttribute("aria-label", `Curves of ${row.arm} ${called}`);
    element.toggleAttribute("data-ticked", tick.checked);
    state.dataset.state = row.state;
    setText(state, row.state);
    setText(name, called);
    name.title = row.id;
    setText(arm, row.arm);
    setText(progress, row.ended ? day(row.ended) : row.begun ? stepsText(row) : kd.NOTHING);
    setText(accuracy, accuracyText(row));
    setText(told, row.error?.message?.split("\n")[0] ?? (row.pulled ? "from another machine" : ""));
    told.title = row.error?.message ?? "";
  };
  return { element, update, redraw: () => update(shown) };
};

const stepsText = ({ step, steps }) => {
  if (!steps) return "measuring";
  return step >= steps ? "measuring" : `${step.toLocaleString("en-US")} / ${steps.toLocaleString("en-US")}`;
};

const accuracyText = ({ accuracy, set }) =>
  accuracy === null || accuracy === undefined ? kd.NOTHING : `${kd.fixed(accuracy)}${set === "validation" ? " v" : ""}`;

/** The list; `view` has `name`, `planned` (whether there are any), `ticked`, `tick(row, on)` and `open(id)`. */
const membersPart = (view) => {
  const asked = { state: "", text: "", page: 0 };
  const chips = new Map(["", ...STATES].map((state) => {
    const count = kd.element("span", { class: "count" });
    const chip = kd.element("button", { type: "button", class: "chip", "aria-pressed": state === "", title: MEANING[state] },
      state || "all", count);
    chip.addEventListener("click", () => choose(state));
    return [state, { chip, count }];
  }));
  const search = kd.element("input", { type: "search", placeholder: "arm, T=4, seed=1, run id", "aria-label": "Find members" });
  const body = kd.element("tbody", {});
  const heads = [
    ["", "", "Curves"], ["State", ""], ["Run", ""], ["Arm", ""], ["Steps, or ended", "number"],
    ["Accuracy", "number", "on the test set; v: on validation"], ["", "", "Message"],
  ];
  const frame = kd.element("div", { class: "table-frame", tabindex: 0, role: "region", "aria-label": "Members" },
    kd.element("table", { class: "data members" },
      kd.element("thead", {}, kd.element("tr", {}, heads.map(([text, kind, title]) =>
        kd.element("th", { scope: "col", class: kind || null, title }, text || kd.element("span", { class: "visually-hidden" }, title))))),
      body));
  const range = kd.element("span", { class: "muted" });
  const [before, after] = [-1, 1].map((by) =>
    kd.element("button", { type: "button", onclick: () => turn(by) }, by < 0 ? "Previous" : "Next"));
  const pages = kd.element("div", { class: "toolbar pages" }, before, range, after);
  const element = kd.element("section", { class: "card", "aria-labelledby": "members-title" },
    kd.element("h2", { id: "members-title" }, "Members"),
    kd.element("div", { class: "toolbar" }, [...chips.values()].map(({ chip }) => chip), search),
    frame, pages);

  const address = () => {
    const query = new URLSearchParams({ state: asked.state, text: asked.text, page: asked.page });
    return view.planned ? `/api/members/${encodeURI(view.name)}?${query}` : null;
  };
  const show = (answer, status) => {
    if (status !== 200) return;
    asked.page = answer.page;
    keep(body, answer.rows, (row) => `${row.id} ${row.arm}`, memberRow(view));
    const all = Object.values(answer.counts).reduce((sum, count) => sum + count, 0);
    for (const [state, { chip, count }] of chips) {
      setText(count, (state ? answer.counts[state] : all).toLocaleString("en-US"));
      chip.setAttribute("aria-pressed", asked.state === state);
    }
    const first = answer.page * answer.size;
    setText(range, answer.total ? `${first + 1} to ${first + answer.rows.length} of ${answer.total.toLocaleString("en-US")}` : "none");
    before.disabled = first === 0;
    after.disabled = first + answer.rows.length >= answer.total;
    pages.hidden = answer.total <= answer.size && answer.total > 0;
  };
  const following = follow(address, show);
  const choose = (state) => {
    Object.assign(asked, { state, page: 0 });
    following.now();
  };
  const turn = (by) => {
    asked.page += by;
    following.now();
  };
  search.addEventListener("input", () => {
    Object.assign(asked, { text: search.value, page: 0 });
    following.now();
  });
  const redraw = () => {
    for (const made of body.kept?.values() ?? []) made.redraw();
  };
  return { element, redraw, again: following.now };
};
