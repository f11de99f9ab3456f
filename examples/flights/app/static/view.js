// What the page shows. Every value enters as text, never as markup.

import { DAYS, clock, day, outcome, percent, points, shortDay, version } from "./words.js";

const REASONS = 6;

export const byId = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function showText(id, text) {
  const target = byId(id);
  // Written only when it changes: a screen reader speaks each time.
  if (target.textContent !== text) target.textContent = text;
  target.hidden = !text;
}

function fillSelect(id, pairs, chosen) {
  byId(id).replaceChildren(...pairs.map(([value, text]) => element("option", { value, textContent: text })));
  byId(id).value = chosen;
}

export function describeFlight(entry, choices) {
  const { carrier, origin, dest, departure_minute: minute } = entry.flight;
  const words = [entry.number, choices.carriers[carrier], origin, choices.airports[origin], dest,
    choices.airports[dest], day(entry), clock(minute)];
  return words.join(" ").toLowerCase();
}

export function showFlights(entries, choices, onPick) {
  byId("flights").replaceChildren(...entries.map((entry) => {
    const { origin, dest, departure_minute: minute } = entry.flight;
    const radio = element("input", { type: "radio", name: "flight" });
    radio.addEventListener("change", () => onPick(entry));
    entry.radio = radio;
    entry.row = element("label", { className: "flight" }, radio,
      element("span", { className: "route", textContent: `${origin} \u2192 ${dest}` }),
      element("span", { className: "number", textContent: entry.number }),
      element("span", { className: "place", textContent: choices.airports[dest] }),
      element("span", { className: "when", textContent: `${shortDay(entry)}, ${clock(minute)}` }));
    return entry.row;
  }));
}

export function showForm(values, choices) {
  byId("hour").value = Math.floor(values.departure_minute / 60);
  fillSelect("weekday", DAYS.map((name, index) => [index + 1, name]), values.weekday);
  fillSelect("carrier", Object.entries(choices.carriers), values.carrier);
  const airport = (code) => [code, `${code} ${choices.airports[code]}`];
  fillSelect("origin", Object.keys(choices.routes).map(airport), values.origin);
  fillSelect("dest", Object.keys(choices.routes[values.origin]).map(airport), values.dest);
  for (const quantity of choices.weather) {
    const value = values[quantity.name];
    const field = byId(quantity.name);
    const digits = Math.abs(value) < 1 ? 2 : 1;
    field.value = value === null ? "" : Number(value.toFixed(digits));
    field.removeAttribute("aria-invalid");
  }
  showClock(values);
}

export function showClock(values) {
  const text = clock(values.departure_minute);
  byId("clock").textContent = text;
  byId("hour").setAttribute("aria-valuetext", text);
}

export function makeWeather(choices, onChange) {
  byId("weather").replaceChildren(...choices.weather.map((quantity) => {
    const { name, label, unit, minimum, maximum } = quantity;
    const field = element("input", { id: name, type: "number", min: minimum, max: maximum, step: "any",
      placeholder: "not known", autocomplete: "off" });
    field.addEventListener("input", () => onChange(quantity, field));
    return element("label", {}, element("span", { textContent: `${label}, ${unit}` }), field);
  }));
}

export function showAnswer(answer, asked) {
  byId("answer").hidden = false;
  showText("about", asked.about);
  byId("probability").textContent = percent(answer.probability);
  byId("filled").style.width = `${answer.probability * 100}%`;
  const usual = answer.baseline;
  const average = usual === null ? "" : `The mark is at ${percent(usual)}, the average of the flights the model knows.`;
  byId("tick").hidden = usual === null;
  byId("tick").style.left = `${(usual ?? 0) * 100}%`;
  showText("usual", average);
  showText("outcome", `${asked.edited ? "The real flight" : "In fact it"} arrived ${outcome(asked.delay)}.`);
  showReasons(answer);
  showSource(answer);
}

function showReasons(answer) {
  const all = answer.contributions;
  const rest = all.slice(REASONS);
  const shown = all.slice(0, REASONS).map(({ text, contribution }) => ({ text, contribution }));
  if (rest.length) {
    const sum = rest.reduce((total, one) => total + one.contribution, 0);
    shown.push({ text: `${rest.length} smaller reasons together`, contribution: sum });
  }
  showText("unexplained", all.length ? "" : `${answer.site} gives no reasons for its prediction.`);
  const widest = Math.max(...shown.map((one) => Math.abs(one.contribution)), 1e-9);
  byId("reasons").replaceChildren(...shown.map(({ text, contribution }) => {
    const bar = element("span", { className: contribution < 0 ? "bar less" : "bar more" });
    bar.style.width = `${(Math.abs(contribution) / widest) * 50}%`;
    const track = element("span", { className: "track" }, bar);
    track.setAttribute("aria-hidden", "true");
    return element("li", {}, element("span", { className: "reason", textContent: text }), track,
      element("span", { className: "points", textContent: points(contribution) }));
  }));
}

function showSource(answer) {
  const rows = [["Site", answer.site], ["Model", `${answer.model_name}, ${version(answer.model_version)}`],
    ["Model digest", answer.model_digest], ["Image digest", answer.image_digest],
    ["Answered", `${answer.at}, in ${Math.round(answer.ms)} ms`]];
  byId("source").replaceChildren(...rows.filter(([, value]) => value).flatMap(([name, value]) => [
    element("dt", { textContent: name }),
    element("dd", { textContent: value, className: value.startsWith("sha256:") ? "digest" : "" }),
  ]));
}

export function showSites(sites, chosen, onChoose) {
  const rows = [{ site: "nearest", text: "the first that answers", state: "" }, ...sites.map((one) => ({
    site: one.site,
    // The reason is a sentence about the site, whose name stands before it already.
    text: one.ready ? version(one.model_version) : one.reason.replace(`${one.site} `, ""),
    state: one.ready ? "ready" : "down",
  }))];
  const target = byId("sites");
  for (const { site, text, state } of rows) {
    let row = [...target.children].find((child) => child.dataset.site === site);
    if (!row) {
      const radio = element("input", { type: "radio", name: "site", checked: site === chosen });
      radio.addEventListener("change", () => onChoose(site));
      row = element("label", { className: "site" }, radio,
        element("span", {}, element("b", { textContent: site }), " ", element("span", { className: "state" })));
      row.dataset.site = site;
      target.append(row);
    }
    const shown = row.querySelector(".state");
    shown.className = `state ${state}`;
    shown.textContent = text;
  }
}
