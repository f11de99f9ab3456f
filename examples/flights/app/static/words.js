// Numbers, times and names as a person reads them.

export const DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
  "November", "December"];
const MINUS = "\u2212";

export function clock(minute) {
  const pad = (number) => String(number).padStart(2, "0");
  return `${pad(Math.floor(minute / 60))}:${pad(minute % 60)}`;
}

export function percent(share) {
  if (share < 0.01) return "under 1 %";
  if (share > 0.99) return "over 99 %";
  return `${Math.round(share * 100)} %`;
}

export function points(share) {
  const size = Math.abs(share * 100);
  const shown = size < 0.05 ? "0" : size.toFixed(size < 0.95 ? 1 : 0);
  const sign = shown === "0" ? "" : share < 0 ? MINUS : "+";
  return `${sign}${shown} ${shown === "1" ? "point" : "points"}`;
}

export function day(entry) {
  const [, month, number] = entry.date.split("-").map(Number);
  return `${DAYS[entry.flight.weekday - 1]} ${number} ${MONTHS[month - 1]}`;
}

export function shortDay(entry) {
  const [name, ...rest] = day(entry).split(" ");
  return [name.slice(0, 3), ...rest].join(" ");
}

export function outcome(minutes) {
  if (minutes === 0) return "on time";
  return `${Math.abs(minutes)} ${Math.abs(minutes) === 1 ? "minute" : "minutes"} ${minutes < 0 ? "early" : "late"}`;
}

// A model without a release is known by its digest, which is long.
export function version(text) {
  if (!text) return "without a version";
  return text.startsWith("sha256:") ? `${text.slice(0, 19)}\u2026` : `version ${text}`;
}
