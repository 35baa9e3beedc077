/* Asking again: every two seconds, with the hash of what is here already; at once when the page is looked at again.

   A board that is gone (ended, started again, the laptop slept) is asked on, less and less often, and the page says so. */

const EVERY_MS = 2000;
const MOST_MS = 10000;
const WAIT_MS = 15000;

/** What the bar on top says of the connection; said once for all that ask. */
const connection = {
  state: "asking",
  WORDS: { asking: "connecting", live: "live", lost: "connection lost, trying again", paused: "paused" },
  set(state) {
    if (state === connection.state) return;
    connection.state = state;
    const shown = kd.byId("connection");
    shown.dataset.state = state;
    shown.textContent = connection.WORDS[state];
  },
};

/** An answer of the board as `{status, etag, value}`; throws where nobody answers. */
const ask = async (address, etag = null, wait = WAIT_MS) => {
  const answer = await fetch(address, {
    headers: etag ? { "If-None-Match": etag } : {},
    cache: "no-store",
    signal: AbortSignal.timeout(wait),
  });
  const value = answer.status === 304 ? null : await answer.json();
  return { status: answer.status, etag: answer.headers.get("etag"), value };
};

/** Ask for `address()` as long as `stop()` is not called; `show(value, status)` gets every answer that is new.

    Where `address()` is null there is nothing to ask for at the moment. `now()` asks at once. */
const follow = (address, show, { every = EVERY_MS } = {}) => {
  const following = { stopped: false, timer: null, failures: 0, asking: 0, last: null, etag: null };

  const later = (wait) => {
    clearTimeout(following.timer);
    if (!following.stopped && !document.hidden) following.timer = setTimeout(once, wait);
  };

  const once = async () => {
    const wanted = address();
    const turn = ++following.asking;
    if (wanted === null) return later(every);
    try {
      const answer = await ask(wanted, wanted === following.last ? following.etag : null);
      if (following.stopped || turn !== following.asking) return;
      following.failures = 0;
      connection.set("live");
      if (answer.status !== 304) {
        following.last = wanted;
        following.etag = answer.etag;
        show(answer.value, answer.status);
      }
      later(every);
    } catch (problem) {
      if (following.stopped || turn !== following.asking) return;
      if (!(problem instanceof TypeError || problem instanceof DOMException || problem instanceof SyntaxError)) throw problem;
      following.failures += 1;
      connection.set("lost");
      later(Math.min(every * 1.5 ** following.failures, MOST_MS));
    }
  };

  const seen = () => {
    if (document.hidden) {
      clearTimeout(following.timer);
      connection.set("paused");
    } else {
      once();
    }
  };
  document.addEventListener("visibilitychange", seen);
  addEventListener("online", once);
  once();
  return {
    now: once,
    stop: () => {
      following.stopped = true;
      clearTimeout(following.timer);
      document.removeEventListener("visibilitychange", seen);
      removeEventListener("online", once);
    },
  };
};

/** Say something to those who listen to the page: the newest of what came up, at most every fifteen seconds. */
const announce = (() => {
  let waiting = null;
  let next = 0;
  const say = () => {
    kd.byId("announcement").textContent = waiting;
    waiting = null;
    next = Date.now() + 15000;
  };
  return (text) => {
    if (waiting === null) setTimeout(say, Math.max(0, next - Date.now()));
    waiting = text;
  };
})();
