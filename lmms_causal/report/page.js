"use strict";
// The theme button, the choice of charts and the table of documents. Whatever comes from the data is set as
// text, never as markup.
(() => {
  const get = (id) => document.getElementById(id);

  const theme = get("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const nameTheme = () => { theme.setAttribute("aria-label", `Use the ${isDark() ? "light" : "dark"} theme`); };
  theme.addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
  system.addEventListener("change", nameTheme);
  nameTheme();
  theme.hidden = false;

  // Charts are drawn beforehand; those not shown at first wait in a template.
  for (const box of document.querySelectorAll(".gallery")) {
    const select = box.querySelector("select");
    if (!select) continue;
    const [shown, more] = box.querySelectorAll(".charts");
    const [start, rest] = [shown, more].map((it) => (it ? [...it.children] : []));
    const every = [...start, ...rest, ...box.querySelector("template").content.children];
    select.addEventListener("input", () => {
      const all = select.value === "";
      const found = all ? start : every.filter((it) => it.dataset.choice === select.value);
      if (more) { more.replaceChildren(...(all ? rest : [])); more.parentElement.hidden = !all; }
      shown.replaceChildren(...found);
      box.querySelector("[role=status]").textContent = `${found.length} chart${found.length === 1 ? "" : "s"}`;
    });
    box.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    box.querySelector("form").hidden = false;
  }

  const form = get("filters");
  if (!form) return;

  const { runs, tasks, texts, documents } = JSON.parse(get("data").textContent);
  const pictures = JSON.parse(get("pictures").textContent);
  const [TASK, ID, QUESTION, TARGET, ANSWERS, SCORES, FIELDS, PICTURES, HEAT] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  const PAGE = 25;
  const all = (name) => form.elements[name];
  const state = { found: [], page: 0, open: -1 };

  // "01-" holds scores of 0 and 1, a character for each run; anything else is a list.
  const scoreOf = (doc, metric, run) => {
    const packed = doc[SCORES][metric];
    if (typeof packed !== "string") return packed[run];
    return packed[run] === "-" ? null : Number(packed[run]);
  };
  const answerOf = (doc, run) => (doc[ANSWERS][run] < 0 ? null : texts[doc[ANSWERS][run]]);
  const shown = (value) => (value === null ? "–" : String(value).replaceAll("-", "−"));
  const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

  const make = (tag, given = {}, ...inside) => {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(given)) {
      if (key in element && key !== "role") element[key] = value; else element.setAttribute(key, value);
    }
    element.append(...inside);
    return element;
  };

  // Names such as "plausible/1/08" and "entity_count" may break behind their signs.
  const breakable = (name) => (name.match(/[^_/]*[_/]|[^_/]+/g) || []).flatMap((piece, index) => (index ? [make("wbr"), piece] : [piece]));

  const CHANGES = {
    all: ["all documents", () => true],
    changed: ["score changed", (a, b) => a !== null && b !== null && a !== b],
    up: ["score higher than in A", (a, b) => a !== null && b !== null && b > a],
    down: ["score lower than in A", (a, b) => a !== null && b !== null && b < a],
    same: ["score unchanged", (a, b) => a !== null && a === b],
    ones: ["right in both", (a, b) => a === 1 && b === 1],
    zeros: ["wrong in both", (a, b) => a === 0 && b === 0],
    answer: ["answer changed", (a, b, doc, run) => answerOf(doc, run) !== null && answerOf(doc, 0) !== answerOf(doc, run)],
  };
  const rightIs = (metric) => metric.binary && metric.good > 0;
  const wording = (key, metric) => {
    if (!rightIs(metric)) return key === "ones" ? "1 in both" : key === "zeros" ? "0 in both" : CHANGES[key][0];
    return { up: "gained: wrong in A, right now", down: "lost: right in A, wrong now" }[key] || CHANGES[key][0];
  };
  const offered = (metric) => Object.keys(CHANGES).filter((key) => (key !== "ones" && key !== "zeros") || metric.binary);

  const fill = (select, options, chosen) => {
    select.replaceChildren(...options.map(([value, text]) => make("option", { value, textContent: text })));
    if (options.some(([value]) => value === chosen)) select.value = chosen;
    select.closest("label").hidden = options.length < 2;
  };

  const chosen = () => {
    const task = Number(all("task").value);
    const metric = Number(all("metric").value);
    return { task, run: Number(all("run").value), metric, about: tasks[task].metrics[metric] };
  };

  const fillMetric = () => {
    const { task } = chosen();
    fill(all("metric"), tasks[task].metrics.map((it, index) => [String(index), it.name]), all("metric").value);
    all("metric").selectedIndex = Math.max(0, all("metric").selectedIndex);
    const parts = tasks[task].fields.flatMap((field, index) => field.values.map((value) => [`${index}=${value}`, `${field.name}: ${value}`]));
    fill(all("part"), [["", "all"], ...parts], all("part").value);
    fillChange();
  };
  const fillChange = (first) => {
    const { about } = chosen();
    fill(all("change"), offered(about).map((key) => [key, wording(key, about)]), first || all("change").value);
  };

  const search = (doc, words, run) => {
    const text = [doc[ID], texts[doc[QUESTION]], texts[doc[TARGET]], answerOf(doc, 0) || "", answerOf(doc, run) || ""].join("\n").toLowerCase();
    return words.every((word) => text.includes(word));
  };

  const filter = () => {
    const { task, run, metric, about } = chosen();
    const test = CHANGES[all("change").value][1];
    const part = all("part").value;
    const at = part.indexOf("=");
    const words = all("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    let own = 0;
    state.found = documents.filter((doc) => {
      if (doc[TASK] !== task) return false;
      own += 1;
      if (part && texts[doc[FIELDS][Number(part.slice(0, at))]] !== part.slice(at + 1)) return false;
      return test(scoreOf(doc, metric, 0), scoreOf(doc, metric, run), doc, run) && (!words.length || search(doc, words, run));
    });
    state.page = 0;
    const up = state.found.filter((doc) => CHANGES.up[1](scoreOf(doc, metric, 0), scoreOf(doc, metric, run))).length;
    const down = state.found.filter((doc) => CHANGES.down[1](scoreOf(doc, metric, 0), scoreOf(doc, metric, run))).length;
    const [gained, lost] = rightIs(about) ? ["gained", "lost"] : ["higher", "lower"];
    get("count").textContent = `${state.found.length.toLocaleString("en")} of ${plural(own, "document")}: ${up.toLocaleString("en")} ${gained}, ${down.toLocaleString("en")} ${lost} with ${runs[run].key}`;
    draw();
  };

  const change = (a, b, about, doc, run) => {
    if (a === null || b === null) return ["–", "none"];
    if (a === b) return [answerOf(doc, 0) === answerOf(doc, run) ? "same" : "other answer, same score", "none"];
    const up = b > a;
    const tone = about.good === 0 ? "plain" : up === about.good > 0 ? "good" : "bad";
    const words = rightIs(about) ? (up ? "gained" : "lost") : `${shown(a)} → ${shown(b)}`;
    return [`${up ? "▲" : "▼"} ${words}`, tone];
  };

  const answerCell = (doc, run, metric, about, label) => {
    const text = answerOf(doc, run);
    const value = scoreOf(doc, metric, run);
    const words = make("span", { className: "clamp", dir: "auto", textContent: text === null ? "–" : text || "(empty)" });
    if (rightIs(about) && value !== null) {
      words.classList.add(value ? "mark-right" : "mark-wrong");
      words.prepend(make("span", { className: "hidden", textContent: value ? "right: " : "wrong: " }));
    }
    return make("td", { role: "cell", "data-label": label }, words);
  };

  const image = (index, className, alt) => {
    const picture = make("img", { className, alt, src: pictures[index] });
    picture.addEventListener("load", () => picture.classList.toggle("tiny", picture.naturalWidth < 128 && !className.includes("over")));
    return picture;
  };

  const draw = () => {
    const { run, metric, about } = chosen();
    const pages = Math.max(1, Math.ceil(state.found.length / PAGE));
    state.page = Math.min(Math.max(0, state.page), pages - 1);
    const start = state.page * PAGE;
    get("run-head").textContent = runs[run].key;
    get("rows").replaceChildren(...state.found.slice(start, start + PAGE).map((doc, place) => {
      const [words, tone] = change(scoreOf(doc, metric, 0), scoreOf(doc, metric, run), about, doc, run);
      const row = make("tr", { role: "row", className: doc[PICTURES].length ? "" : "bare" },
        make("td", { role: "cell", className: "thumb" }, ...(doc[PICTURES].length ? [image(doc[PICTURES][0], "thumbnail", "")] : [])),
        make("td", { role: "cell" }, make("button", { type: "button", dir: "auto", "aria-haspopup": "dialog" }, ...breakable(doc[ID]))),
        make("td", { role: "cell", className: "question" }, make("span", { className: "clamp", dir: "auto", textContent: texts[doc[QUESTION]].trim() || "–" })),
        make("td", { role: "cell", "data-label": "expected" }, make("span", { className: "clamp", dir: "auto", textContent: texts[doc[TARGET]] })),
        answerCell(doc, 0, metric, about, "A"),
        answerCell(doc, run, metric, about, runs[run].key),
        make("td", { role: "cell", className: tone, textContent: words }));
      row.addEventListener("click", () => show(start + place));
      return row;
    }));
    get("table").hidden = !state.found.length;
    get("pager").hidden = pages < 2;
    get("page").textContent = `Page ${(state.page + 1).toLocaleString("en")} of ${pages.toLocaleString("en")}`;
    for (const button of get("pager").querySelectorAll("button")) {
      button.disabled = /first|previous/.test(button.dataset.to) ? state.page === 0 : state.page === pages - 1;
    }
  };

  // Texts of others may run from right to left: each finds its own direction.
  const paragraph = (text) => make("p", { className: "words", dir: "auto", textContent: text || "–" });
  const part = (name, text) => [make("p", { className: "term", textContent: name }), paragraph(text)];
  // What every prompt of a task begins and ends with is told once, and shown on demand.
  const prompt = (doc) => {
    const { before, after } = tasks[doc[TASK]];
    if (!before && !after) return [];
    const whole = [before, texts[doc[QUESTION]], after].join("");
    return [make("details", {}, make("summary", { textContent: "The whole prompt" }), paragraph(whole))];
  };

  // The picture with buttons that lay one run's attention over it.
  const figure = (doc) => {
    const laid = Object.entries(doc[HEAT]);
    return doc[PICTURES].map((index, place) => {
      const base = image(index, "", place ? `picture ${place + 1}` : "the document's picture");
      const frame = make("div", { className: "frame" }, base);
      const caption = make("figcaption");
      const box = make("figure", { className: "picture" }, frame);
      if (!place && laid.length) {
        const buttons = [["", "Picture"], ...laid.map(([run]) => [run, `Attention, ${runs[run].key}`])].map(([run, text]) => {
          const button = make("button", { type: "button", textContent: text, "aria-pressed": String(run === "") });
          button.addEventListener("click", () => {
            buttons.forEach((it) => it.setAttribute("aria-pressed", String(it === button)));
            frame.replaceChildren(base);
            frame.classList.toggle("laid", run !== "");
            caption.textContent = "";
            if (run === "") return;
            const [heat, cropped, said] = doc[HEAT][run];
            const over = image(heat, "over", "");
            if (cropped && base.naturalWidth) {
              const [width, height] = [base.naturalWidth, base.naturalHeight];
              const side = Math.min(width, height);
              over.style.inset = `${50 * (1 - side / height)}% ${50 * (1 - side / width)}%`;
              over.style.width = `${(100 * side) / width}%`;
              over.style.height = `${(100 * side) / height}%`;
            }
            frame.append(over);
            caption.textContent = `Brighter is more attention: ${said}.`;
          });
          return button;
        });
        box.append(make("div", { className: "switch", role: "group", "aria-label": "Attention" }, ...buttons), caption);
      }
      return box;
    });
  };

  const show = (place) => {
    const doc = state.found[place];
    if (!doc) return;
    state.open = place;
    const about = tasks[doc[TASK]];
    const now = chosen().run;
    get("detail-name").textContent = doc[ID];
    get("detail-place").textContent = `${(place + 1).toLocaleString("en")} of ${state.found.length.toLocaleString("en")}`;
    get("earlier").disabled = place === 0;
    get("later").disabled = place === state.found.length - 1;
    // Only metrics that score the document: many are of a part of the documents.
    const metrics = about.metrics.map((it, index) => [it, index]).filter(([, index]) => runs.some((_, run) => scoreOf(doc, index, run) !== null));
    const answers = make("table", { className: "answers" },
      make("thead", {}, make("tr", {}, ...["Run", "Answer", ...metrics.map(([it]) => it.name)].map((name) => make("th", { scope: "col" }, ...breakable(name))))),
      make("tbody", {}, ...runs.map((it, run) => [it, run]).sort((a, b) => (b[1] === 0) - (a[1] === 0) || (b[1] === now) - (a[1] === now)).map(([it, run]) =>
        make("tr", {},
          make("th", { scope: "row" }, make("span", { className: run ? "chip" : "chip ref", textContent: it.key }), " ", make("code", {}, ...breakable(it.name))),
          make("td", { "data-label": "answer" }, make("span", { className: "words", dir: "auto", textContent: answerOf(doc, run) ?? "–" })),
          ...metrics.map(([metric, index]) => {
            const value = scoreOf(doc, index, run);
            const judged = rightIs(metric) && value !== null;
            return make("td", { "data-label": metric.name }, make("span", { className: judged ? (value ? "mark-right" : "mark-wrong") : "", textContent: judged ? (value ? "right" : "wrong") : shown(value) }));
          })))));
    const left = make("div", {}, ...figure(doc));
    const right = make("div", {}, ...part("Question", texts[doc[QUESTION]].trim()), ...prompt(doc), ...part("Expected", texts[doc[TARGET]]));
    const facts = about.fields.flatMap((field, index) => [index ? " · " : "", make("bdi", { textContent: `${field.name}: ${texts[doc[FIELDS][index]] || "–"}` })]);
    get("detail-body").replaceChildren(
      make("div", { className: doc[PICTURES].length ? "pair" : "pair bare" }, ...(doc[PICTURES].length ? [left] : []), right),
      answers, make("p", { className: "facts" }, ...facts));
    get("detail").scrollTop = 0;
    if (!get("detail").open) get("detail").showModal();
  };
  const step = (by) => { if (state.found[state.open + by]) show(state.open + by); };

  get("earlier").addEventListener("click", () => step(-1));
  get("later").addEventListener("click", () => step(1));
  get("close").addEventListener("click", () => get("detail").close());
  get("detail").addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  get("detail").addEventListener("click", (event) => { if (event.target === get("detail")) get("detail").close(); });
  get("detail").addEventListener("close", () => {
    // Back to the row that was looked at last, which may be on another page by now.
    state.page = Math.floor(state.open / PAGE);
    draw();
    get("rows").children[state.open % PAGE]?.querySelector("button").focus();
  });
  get("pager").addEventListener("click", (event) => {
    const to = event.target.dataset.to;
    if (!to) return;
    state.page = { first: 0, previous: state.page - 1, next: state.page + 1, last: Infinity }[to];
    draw();
    get("documents").scrollIntoView();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  let waiting = 0;
  form.addEventListener("input", (event) => {
    if (event.target.name === "task") fillMetric();
    if (event.target.name === "metric") fillChange();
    clearTimeout(waiting);
    waiting = setTimeout(filter, event.target.name === "text" ? 150 : 0);
  });

  const order = tasks.map((it, index) => [String(index), it.name]);
  fill(all("task"), order, "0");
  fill(all("run"), runs.slice(1).map((it, index) => [String(index + 1), `${it.key}: ${it.name}`.slice(0, 60)]), "1");
  fillMetric();
  // Begin with what changed, if anything did.
  fillChange(documents.some((doc) => doc[TASK] === 0 && CHANGES.changed[1](scoreOf(doc, 0, 0), scoreOf(doc, 0, 1))) ? "changed" : "all");
  get("table").classList.toggle("bare", !documents.some((doc) => doc[PICTURES].length));
  form.hidden = false;
  filter();
})();
