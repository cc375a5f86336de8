"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const tests = all("details.test");
  const search = document.getElementById("search");
  const buttons = all("button.filter");

  // Chooses tests by name and outcome.
  const choose = () => {
    const text = (search?.value ?? "").toLowerCase();
    const hidden = new Set(
      buttons.filter((it) => it.getAttribute("aria-pressed") === "false").map((it) => it.dataset.outcome),
    );
    let shown = 0;
    for (const test of tests) {
      test.hidden = hidden.has(test.dataset.outcome) || !test.dataset.label.toLowerCase().includes(text);
      shown += test.hidden ? 0 : 1;
    }
    document.getElementById("none").hidden = shown > 0;
  };
  search?.addEventListener("input", choose);
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const pressed = button.getAttribute("aria-pressed") === "true";
      button.setAttribute("aria-pressed", String(!pressed));
      choose();
    });
  }

  // Opens what an address names.
  const open = (element) => {
    for (let outer = element; outer; outer = outer.parentElement) {
      if (outer.localName === "details") outer.open = true;
    }
  };

  // Marks the line of each console that was the last one at a moment.
  const jump = (attempt, time) => {
    for (const lines of all(".console .lines", attempt)) {
      all("p.current", lines).forEach((line) => line.classList.remove("current"));
      const known = all("p[data-time]", lines);
      const last = known.findLast((line) => Number(line.dataset.time) <= time) ?? known[0];
      if (last) {
        last.classList.add("current");
        lines.scrollTop = last.offsetTop - lines.offsetTop - lines.clientHeight / 2;
      }
    }
  };

  // Shows a call, and what the consoles said then.
  const show = (hash) => {
    const call = hash.startsWith("#call-") ? document.getElementById(hash.slice(1)) : null;
    if (!call) return;
    open(call);
    all("li.current, .bar.current").forEach((it) => it.classList.remove("current"));
    call.classList.add("current");
    const bar = document.querySelector(`a.bar[href="${CSS.escape(hash)}"]`);
    bar?.classList.add("current");
    call.scrollIntoView({ block: "center" });
    const attempt = call.closest(".attempt");
    if (bar && attempt) jump(attempt, Number(bar.dataset.time));
  };
  addEventListener("hashchange", () => show(location.hash));
  for (const bar of all("a.bar.call")) {
    bar.addEventListener("click", (event) => {
      event.preventDefault();
      history.replaceState(null, "", bar.getAttribute("href"));
      show(bar.getAttribute("href"));
    });
  }
  show(location.hash);

  // Searches consoles, by text and level.
  for (const console of all("details.console")) {
    const text = console.querySelector("input");
    const level = console.querySelector("select");
    const wanted = { all: ["info", "warning", "error"], warning: ["warning", "error"], error: ["error"] };
    const filter = () => {
      const part = text.value.toLowerCase();
      for (const line of all(".lines p[data-time]", console)) {
        line.hidden = !wanted[level.value].includes(line.classList[0]) || !line.textContent.toLowerCase().includes(part);
      }
    };
    text.addEventListener("input", filter);
    level.addEventListener("change", filter);
  }

  // Scrubs through pictures.
  for (const film of all("figure.film")) {
    const frames = all("img", film);
    const range = film.querySelector("input");
    range.addEventListener("input", () => {
      frames.forEach((frame, index) => {
        frame.hidden = index !== Number(range.value);
      });
      film.querySelector("output").textContent = `${frames[Number(range.value)].dataset.time} s`;
    });
  }

  // Goes from test to test.
  addEventListener("keydown", (event) => {
    if (event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === "/" && search) {
      event.preventDefault();
      search.focus();
    }
    const step = { j: 1, k: -1 }[event.key];
    if (!step) return;
    const shown = tests.filter((test) => !test.hidden);
    const at = shown.findIndex((test) => test.contains(document.activeElement));
    const next = shown[at < 0 ? 0 : Math.min(Math.max(at + step, 0), shown.length - 1)];
    next?.querySelector("summary").focus();
    next?.scrollIntoView({ block: "nearest" });
  });
})();
