/* Pieces of the board: lists that keep their elements, bars of states, times that go on. */

const STATES = ["finished", "running", "failed", "stopped", "waiting"];
const COLOURS = { finished: "good", running: "accent", failed: "bad", stopped: "doubt", waiting: "raised" };
const MEANING = {
  finished: "measured, and its record is written",
  running: "somebody trains or measures it now",
  failed: "it ended with an error, which its record tells",
  stopped: "begun, and whoever made it is gone",
  waiting: "planned, and not begun",
};

/** Show rows in a container without making anew what is there: focus, ticks and scrolling stay.

    `make(row)` gives `{element, update(row)}`; `key(row)` names a row. */
const keep = (container, rows, key, make) => {
  container.kept ??= new Map();
  const before = container.kept;
  const after = new Map();
  rows.forEach((row, at) => {
    const name = key(row);
    const made = before.get(name) ?? make(row);
    made.update(row);
    after.set(name, made);
    if (container.children[at] !== made.element) container.insertBefore(made.element, container.children[at] ?? null);
  });
  for (const [name, made] of before) if (!after.has(name)) made.element.remove();
  container.kept = after;
};

/** Set a text where it is another: a screen reader and a selection are left alone otherwise. */
const setText = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

/** `12 finished, 2 running, 11 waiting`; states without a run are left out. */
const countsText = (counts) =>
  STATES.filter((state) => counts[state]).map((state) => `${counts[state].toLocaleString("en-US")} ${state}`).join(", ");

/** A bar of how many runs are in which state. */
const stateMeter = () => {
  const parts = STATES.map((state) => kd.element("span", { colour: `var(--${COLOURS[state]})`, "data-state": state }));
  const element = kd.element("div", { class: "meter states", role: "img" }, parts);
  const update = (counts, total) => {
    element.setAttribute("aria-label", `${countsText(counts) || "no runs"}${total ? ` of ${total}` : ""}`);
    STATES.forEach((state, at) => {
      parts[at].style.width = total ? `${(100 * counts[state]) / total}%` : "0";
      parts[at].title = `${counts[state]} ${state}`;
      parts[at].hidden = !counts[state];
    });
  };
  return { element, update };
};

/** The counts as words with their colours. */
const stateWords = () => {
  const words = STATES.map((state) => kd.element("span", { class: "state", "data-state": state, title: MEANING[state] }));
  const element = kd.element("span", { class: "state-words" }, words);
  const update = (counts) =>
    STATES.forEach((state, at) => {
      words[at].hidden = !counts[state];
      setText(words[at], `${(counts[state] ?? 0).toLocaleString("en-US")} ${state}`);
    });
  return { element, update };
};

/** A bar of how far one training is. */
const stepMeter = () => {
  const part = kd.element("span", {});
  const element = kd.element("div", { class: "meter", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, part);
  const update = (share, label) => {
    part.style.width = `${100 * share}%`;
    element.setAttribute("aria-valuenow", Math.round(100 * share));
    element.setAttribute("aria-label", label);
  };
  return { element, update };
};

// ---- Times: the board tells when; the page says how long ago, and says it again while it goes by.

const clock = (seconds) =>
  new Date(1000 * seconds).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

const day = (seconds) => {
  const date = new Date(1000 * seconds);
  return date.toDateString() === new Date().toDateString()
    ? clock(seconds)
    : `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${clock(seconds)}`;
};

const ago = (seconds) => {
  const passed = Date.now() / 1000 - seconds;
  if (passed < 5) return "now";
  return passed < 86400 ? `${kd.duration(passed)} ago` : day(seconds);
};

/** `ends about 18:52, in 4 min`. */
const ending = (seconds) => {
  const left = Math.max(0, seconds - Date.now() / 1000);
  return left > 30 * 86400 ? "ends in more than a month" : `ends about ${day(seconds)}, in ${kd.duration(Math.max(1, left))}`;
};

/** An element whose text is made anew every five seconds; `update(seconds)` gives it another time. */
const going = (words, attributes = {}) => {
  const element = kd.element("span", { ...attributes, "data-going": true });
  let at = null;
  element.goOn = () => setText(element, at === null || at === undefined ? "" : words(at));
  return {
    element,
    update: (seconds) => {
      at = seconds;
      element.goOn();
    },
  };
};
setInterval(() => document.querySelectorAll("[data-going]").forEach((element) => element.goOn()), 5000);

/** What stands under a bar of a study: when it ends, or when it last did something. */
const progressWords = (study) => {
  if (study.ends) return ending(study.ends);
  if (study.counts.running) return "running; when it ends cannot be told yet";
  return study.active ? `last activity ${ago(study.active)}` : "";
};

/** The colour of an arm: the tokens name the usual ones, the others take what is left, in their order. */
const armColours = (arms) => {
  const usual = { teacher: "teacher", scratch: "scratch", uniform: "uniform" };
  const free = kd.SERIES.filter((token) => !Object.values(usual).includes(token));
  const colours = {};
  let next = 0;
  for (const { arm, role } of arms) {
    colours[arm] = usual[role] ?? usual[arm] ?? free[next++ % free.length];
  }
  return colours;
};
