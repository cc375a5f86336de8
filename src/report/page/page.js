"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (name, properties) => Object.assign(document.createElement(name), properties);

  // ── Choosing tests ────────────────────────────────────────────────────────

  const tests = all("details.test");
  const search = document.getElementById("search");
  const buttons = all("button.filter");
  const texts = new Map(
    tests.map((test) => [test, [test.dataset.label, ...all(".failure, .source", test).map((it) => it.textContent)].join("\n").toLowerCase()]),
  );

  const choose = () => {
    const text = (search?.value ?? "").toLowerCase();
    const hidden = new Set(
      buttons.filter((it) => it.getAttribute("aria-pressed") === "false").map((it) => it.dataset.outcome),
    );
    for (const test of tests) {
      test.hidden = hidden.has(test.dataset.outcome) || !texts.get(test).includes(text);
    }
    const shown = tests.filter((test) => !test.hidden).length;
    document.getElementById("none").hidden = shown > 0;
    if (search) document.getElementById("shown").value = shown < tests.length ? `${shown} of ${tests.length} shown` : "";
  };
  const showAll = () => {
    if (search) search.value = "";
    buttons.forEach((button) => button.setAttribute("aria-pressed", "true"));
    choose();
  };
  // Browsers clear the field by "search".
  for (const name of ["input", "search"]) search?.addEventListener(name, choose);
  search?.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      search.value = "";
      choose();
      search.blur();
    } else if (event.key === "Enter") {
      sorted().find((test) => !test.hidden)?.querySelector("summary").focus();
      event.preventDefault();
    }
  });
  for (const button of buttons) {
    const only = () => {
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      choose();
    };
    button.title = "With Shift, or by a double click, only these";
    button.addEventListener("click", (event) => {
      if (event.shiftKey) return only();
      const pressed = button.getAttribute("aria-pressed") === "true";
      button.setAttribute("aria-pressed", String(!pressed));
      choose();
    });
    button.addEventListener("dblclick", only);
  }

  const orders = {
    attention: () => 0,
    name: (left, right) => left.dataset.label.localeCompare(right.dataset.label),
    duration: (left, right) => right.dataset.duration - left.dataset.duration,
  };
  const sorted = () => [...tests].sort(orders[document.getElementById("sort")?.value ?? "attention"]);
  document.getElementById("sort")?.addEventListener("change", () => document.querySelector("main").append(...sorted()));

  // ── Moments: calls, console lines and pictures ────────────────────────────

  // Pictures: one is shown large, the others are a strip to choose from.
  const films = new Map();
  for (const film of all("figure.film")) {
    const frames = all("img", film);
    const range = film.querySelector("input");
    const large = make("img", { className: "large" });
    film.classList.add("live");
    film.querySelector(".frames").before(large);
    const pick = (index) => {
      const frame = frames[index];
      frames.forEach((other) => other.classList.toggle("current", other === frame));
      Object.assign(large, { src: frame.src, alt: frame.alt });
      range.value = index;
      range.setAttribute("aria-valuetext", `${frame.dataset.time} s`);
      film.querySelector("output").textContent = `${frame.dataset.time} s`;
      const strip = frame.parentElement;
      strip.scrollLeft = frame.offsetLeft - strip.offsetLeft - strip.clientWidth / 2;
    };
    const go = (index) => {
      pick(index);
      visit(film.closest(".attempt"), Number(frames[index].dataset.time), film);
    };
    range.addEventListener("input", () => go(Number(range.value)));
    frames.forEach((frame, index) => frame.addEventListener("click", () => go(index)));
    films.set(film, (time) => pick(Math.max(0, frames.findLastIndex((it) => Number(it.dataset.time) <= time))));
    pick(frames.length - 1);
  }

  // Marks what consoles and displays have shown from one moment to another, and that moment in the timeline. The
  // reader looks at `origin`, which does not move.
  const searches = new Map();
  const mark = (attempt, begin, end, origin = null) => {
    for (const lanes of all(".lanes", attempt)) {
      lanes.style.setProperty("--moment", `${(100 * begin) / Number(lanes.dataset.length)}%`);
      lanes.classList.add("marked");
    }
    for (const box of all(".console", attempt)) {
      const lines = box.querySelector(".lines");
      const known = all("[data-time]", lines);
      const during = known.filter((line) => Number(line.dataset.time) >= begin && Number(line.dataset.time) <= end);
      const last = known.findLast((line) => Number(line.dataset.time) <= begin);
      const marked = during.length > 0 ? during : [last].filter(Boolean);
      known.forEach((line) => line.classList.toggle("current", marked.includes(line)));
      // A search must not hide what was asked for.
      if (marked.some((line) => line.hidden)) searches.get(box)("");
      box.open = true;
      if (marked.length > 0 && box !== origin) {
        lines.scrollTop = marked[0].offsetTop - lines.offsetTop - lines.clientHeight / 3;
      }
    }
    for (const film of all("figure.film", attempt)) if (film !== origin) films.get(film)(end);
  };

  // The same for a moment: the calls that were under way are marked, too.
  const visit = (attempt, time, origin) => {
    all(".bar.current, li.current").forEach((it) => it.classList.remove("current"));
    for (const bar of all("a.bar.call", attempt)) {
      bar.classList.toggle("current", Number(bar.dataset.begin) <= time && time <= Number(bar.dataset.end));
    }
    mark(attempt, time, time, origin);
  };

  // Shows a call below its timeline, and what there was at that time.
  const show = (bar) => {
    const call = document.getElementById(bar.hash.slice(1));
    const attempt = bar.closest(".attempt");
    const chosen = attempt.querySelector(".chosen");
    all(".bar.current, li.current").forEach((it) => it.classList.remove("current"));
    bar.classList.add("current");
    call.classList.add("current");
    chosen.replaceChildren(...[...call.childNodes].map((node) => node.cloneNode(true)));
    chosen.hidden = false;
    mark(attempt, Number(bar.dataset.begin), Number(bar.dataset.end));
  };

  for (const lanes of all(".lanes")) {
    const bars = all("a.bar.call", lanes);
    // One stop for the tabulator key; arrows go on from there.
    bars.forEach((bar, index) => { bar.tabIndex = index === 0 ? 0 : -1; });
    lanes.addEventListener("click", (event) => {
      const bar = event.target.closest(".bar");
      const track = event.target.closest(".track");
      const attempt = lanes.closest(".attempt");
      if (bar?.matches(".call")) {
        event.preventDefault();
        history.replaceState(null, "", bar.hash);
        show(bar);
      } else if (bar) {
        visit(attempt, Number(bar.dataset.begin), lanes);
      } else if (track) {
        const { left, width } = track.getBoundingClientRect();
        visit(attempt, ((event.clientX - left) / width) * Number(lanes.dataset.length), lanes);
      }
    });
    lanes.addEventListener("keydown", (event) => {
      const at = bars.indexOf(document.activeElement);
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (at < 0 || !step) return;
      event.preventDefault();
      const next = bars[Math.min(Math.max(at + step, 0), bars.length - 1)];
      bars.forEach((bar) => { bar.tabIndex = bar === next ? 0 : -1; });
      next.focus({ preventScroll: true });
      next.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
    if (bars.length === 0) continue;

    // A wider one shows short calls side by side.
    let zoom = 1;
    const stretch = (factor) => () => {
      const middle = (lanes.scrollLeft + lanes.clientWidth / 2) / lanes.scrollWidth;
      zoom = Math.min(Math.max(zoom * factor, 1), 256);
      lanes.style.setProperty("--zoom", zoom);
      lanes.scrollLeft = middle * lanes.scrollWidth - lanes.clientWidth / 2;
    };
    const controls = make("p", { className: "zoom" });
    for (const [text, label, factor] of [["−", "Show more time", 0.5], ["+", "Show less time", 2]]) {
      const button = make("button", { type: "button", textContent: text, title: label, ariaLabel: label });
      button.addEventListener("click", stretch(factor));
      controls.append(button);
    }
    const failed = bars.findLast((bar) => bar.classList.contains("failed"));
    if (failed) {
      const button = make("button", { type: "button", textContent: "Show the failed call" });
      button.addEventListener("click", () => {
        history.replaceState(null, "", failed.hash);
        failed.scrollIntoView({ block: "nearest", inline: "center" });
        show(failed);
      });
      controls.append(button);
    }
    lanes.before(controls);
  }

  // Searches consoles, by text and level.
  for (const box of all("details.console")) {
    const text = box.querySelector("input");
    const level = box.querySelector("select");
    const wanted = { all: ["info", "warning", "error"], warning: ["warning", "error"], error: ["error"] };
    const filter = () => {
      const part = text.value.toLowerCase();
      for (const line of all(".lines [data-time]", box)) {
        line.hidden = !wanted[level.value].includes(line.classList[0]) || !line.textContent.toLowerCase().includes(part);
      }
    };
    for (const name of ["input", "search"]) text.addEventListener(name, filter);
    level.addEventListener("change", filter);
    searches.set(box, (wanted) => {
      text.value = wanted;
      level.value = "all";
      filter();
    });
    box.querySelector(".lines").addEventListener("click", (event) => {
      const line = event.target.closest("[data-time]");
      // Not while text is selected.
      if (line && getSelection().isCollapsed) visit(box.closest(".attempt"), Number(line.dataset.time), box);
    });
  }

  // ── Addresses and keys ────────────────────────────────────────────────────

  // Opens what the address names: a test, or a call.
  const follow = () => {
    let id = location.hash.slice(1);
    try {
      id = decodeURIComponent(id);
    } catch {
      // A part of an address: it names nothing here.
    }
    const target = id === "" ? null : document.getElementById(id);
    const test = target?.closest("details.test");
    if (!test) return;
    if (test.hidden) showAll();
    test.open = true;
    const bar = all("a.bar.call", test).find((it) => it.hash.slice(1) === id);
    if (bar) show(bar);
    (bar ?? test).scrollIntoView({ block: bar ? "center" : "start", inline: "center" });
  };
  addEventListener("hashchange", follow);
  follow();

  // Goes from test to test.
  addEventListener("keydown", (event) => {
    if (event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && search) {
      event.preventDefault();
      search.focus();
    }
    const step = { j: 1, k: -1 }[event.key];
    if (!step) return;
    const shown = sorted().filter((test) => !test.hidden);
    const at = shown.findIndex((test) => test.contains(document.activeElement));
    const seen = shown.findIndex((test) => test.getBoundingClientRect().bottom > 0);
    const next = shown[at < 0 ? seen : Math.min(Math.max(at + step, 0), shown.length - 1)];
    next?.querySelector("summary").focus();
    next?.scrollIntoView({ block: "nearest" });
  });
})();
