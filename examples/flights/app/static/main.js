// What happens on the page: a person changes something, a site is asked, its answer is shown.

import { Problem, call } from "./api.js";
import { byId, describeFlight, makeWeather, showAnswer, showClock, showFlights, showForm, showSites,
  showText } from "./view.js";
import { clock, percent, version } from "./words.js";

const POLL_MS = 3000;
const PAUSE_MS = 250;

const state = {
  entries: [], // the real flights
  choices: null, // what the form offers
  entry: null, // the flight picked
  values: null, // the flight as it was changed
  site: "nearest",
  answer: null, // the last answer, with what was asked
  failed: false, // whether the last question got none
  asking: null, // what gives up the question under way
  timer: 0,
};

// Picking and changing a flight

function pick(entry) {
  state.entry = entry;
  state.values = { ...entry.flight };
  entry.radio.checked = true;
  showForm(state.values, state.choices);
  byId("reset").disabled = true;
  ask();
}

function isEdited() {
  return Object.keys(state.values).some((name) => state.values[name] !== state.entry.flight[name]);
}

function change(name, value) {
  state.values[name] = value;
  askSoon();
}

function changeOrigin(origin) {
  const offered = Object.keys(state.choices.routes[origin]);
  state.values.origin = origin;
  if (!offered.includes(state.values.dest)) state.values.dest = offered[0];
  showForm(state.values, state.choices);
  askSoon();
}

function changeWeather(quantity, field) {
  field.setAttribute("aria-invalid", String(!field.validity.valid));
  change(quantity.name, field.value === "" ? null : Number(field.value));
}

// What is wrong in the form; empty when nothing is.
function mistake() {
  const wrong = state.choices.weather.find(({ name }) => !byId(name).validity.valid);
  if (!wrong) return "";
  const { label, minimum, maximum, unit } = wrong;
  return `${label} must be a number from ${minimum} to ${maximum} ${unit}, or empty when it is not known.`;
}

// What is sent: distance and arrival follow from the route and the departure, so they are never changed by hand.
function question() {
  const { entry, values } = state;
  const real = entry.flight;
  const flight = { ...values };
  if (values.origin !== real.origin || values.dest !== real.dest) {
    flight.distance = null;
    flight.arrival_minute = null;
  } else {
    flight.arrival_minute = (real.arrival_minute + values.departure_minute - real.departure_minute + 1440) % 1440;
  }
  return { site: state.site, flight };
}

// Asking

function giveUp() {
  clearTimeout(state.timer);
  state.asking?.abort();
  state.asking = null;
}

function askSoon() {
  giveUp();
  byId("reset").disabled = !isEdited() && !mistake();
  byId("result").setAttribute("aria-busy", "true");
  state.timer = setTimeout(ask, PAUSE_MS);
}

async function ask() {
  giveUp();
  const wrong = mistake();
  if (wrong) return fail(wrong, false);
  const asking = new AbortController();
  state.asking = asking;
  const { entry, values } = state;
  const body = question();
  const asked = { key: JSON.stringify(body.flight), chosen: body.site, delay: entry.arrival_delay, edited: isEdited(),
    about: `${entry.number}, ${values.origin} to ${values.dest}, departs at ${clock(values.departure_minute)}` };
  if (values.carrier !== entry.flight.carrier) asked.about += `, flown by ${state.choices.carriers[values.carrier]}`;
  byId("result").setAttribute("aria-busy", "true");
  showText("waiting", state.answer ? "" : "Asking\u2026");
  try {
    const answer = await call("api/predict", body, asking.signal);
    if (state.asking === asking) succeed({ ...answer, at: new Date().toLocaleTimeString("en-GB") }, asked);
  } catch (error) {
    if (error.name !== "AbortError" && !(error instanceof Problem)) throw error;
    if (state.asking === asking) fail(error.message, error.passing);
  }
}

function succeed(answer, asked) {
  const before = state.answer;
  state.answer = { ...answer, key: asked.key, chosen: asked.chosen };
  settle(false);
  showText("problem", "");
  showChange(before, state.answer);
  showText("since", "");
  showAnswer(answer, asked);
}

function fail(sentence, again) {
  settle(again);
  state.answer = null;
  byId("answer").hidden = true;
  showText("change", "");
  showText("problem", sentence);
}

function settle(failed) {
  state.asking = null;
  state.failed = failed;
  byId("result").removeAttribute("aria-busy");
  showText("waiting", "");
}

const isSame = (one, other) =>
  ["model_version", "model_digest", "image_digest"].every((name) => one[name] === other[name]);

function showChange(before, answer) {
  const notes = [...answer.passed_over];
  if (notes.length) notes.push(`So ${answer.site} was asked.`);
  if (before && before.chosen === answer.chosen && before.site !== answer.site && !notes.length) {
    notes.push(`${answer.site} answers now, ${before.site} did before.`);
  } else if (before && before.site === answer.site && !isSame(before, answer)) {
    const [old, current] = [version(before.model_version), version(answer.model_version)];
    notes.push(old === current ? `${answer.site} has another image of ${current} since.`
      : `${answer.site} went from ${old} to ${current} while this page was open.`);
    if (before.key === answer.key) {
      notes.push(`The same flight: ${percent(before.probability)} before, ${percent(answer.probability)} now.`);
    }
  } else if (before && before.key === answer.key && isSame(before, answer) && !notes.length) {
    return; // Asked again for the same: what was said still holds.
  }
  showText("change", notes.join(" "));
}

// Watching the sites

async function watch() {
  try {
    if (!document.hidden) follow((await call("api/sites")).sites);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    showText("since", state.answer ? error.message : "");
  } finally {
    setTimeout(watch, POLL_MS);
  }
}

function follow(sites) {
  showSites(sites, state.site, (site) => {
    state.site = site;
    ask();
  });
  if (state.asking) return;
  const { answer } = state;
  if (!answer) {
    const possible = sites.some((one) => one.ready && (state.site === "nearest" || state.site === one.site));
    if (state.failed && possible) ask();
    return;
  }
  const now = sites.find((one) => one.site === answer.site);
  if (now?.ready && !isSame(now, answer)) ask();
  else showText("since", now && !now.ready ? `Since then: ${now.reason}` : "");
}

// Starting

function search() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const entry of state.entries) {
    entry.row.hidden = !words.every((word) => entry.searched.includes(word));
    found += entry.row.hidden ? 0 : 1;
  }
  showText("found", found ? `${found} of ${state.entries.length} flights` : "No flight has all of these words.");
}

function listen() {
  byId("search").addEventListener("input", search);
  byId("reset").addEventListener("click", () => pick(state.entry));
  byId("hour").addEventListener("input", (event) => {
    change("departure_minute", Number(event.target.value) * 60 + (state.entry.flight.departure_minute % 60));
    showClock(state.values);
  });
  byId("weekday").addEventListener("change", (event) => change("weekday", Number(event.target.value)));
  for (const name of ["carrier", "dest"]) {
    byId(name).addEventListener("change", (event) => change(name, event.target.value));
  }
  byId("origin").addEventListener("change", (event) => changeOrigin(event.target.value));
  byId("form").addEventListener("submit", (event) => event.preventDefault());
}

async function start() {
  try {
    [state.choices, state.entries] = await Promise.all([call("api/choices"), call("api/flights")]);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    fail(error.message, false);
    setTimeout(start, POLL_MS);
    return;
  }
  for (const entry of state.entries) entry.searched = describeFlight(entry, state.choices);
  makeWeather(state.choices, changeWeather);
  showFlights(state.entries, state.choices, pick);
  listen();
  search();
  // The evening is when flights are late.
  const first = state.entries.find((entry) => entry.flight.departure_minute >= 18 * 60);
  byId("flights").scrollTop = first.row.offsetTop - byId("flights").offsetTop;
  pick(first);
  watch();
}

start();
