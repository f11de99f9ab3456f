// The way to this app's own server.

const RETRY_MS = 400;

// An answer that is not a success; the message is a sentence for the person at the page. A passing one may be gone when
// the same is asked again.
export class Problem extends Error {
  constructor(sentence, passing) {
    super(sentence);
    this.passing = passing;
  }
}

// Fetches JSON, and once more when the connection drops; throws Problem, or AbortError when given up.
export async function call(path, body, signal) {
  const options = { signal, cache: "no-store" };
  if (body !== undefined) {
    options.method = "POST";
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  let response;
  let found;
  try {
    response = await fetchTwice(path, options);
    found = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("This app's own server does not answer: it is asked again every few seconds.", true);
  }
  if (!response.ok) {
    const sentence = typeof found.detail === "string" ? found.detail : `The server answered HTTP ${response.status}.`;
    throw new Problem(sentence, response.status >= 500);
  }
  return found;
}

async function fetchTwice(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    return fetch(path, options);
  }
}
