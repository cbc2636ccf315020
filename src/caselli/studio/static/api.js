// Requests to the studio: every one carries the token of the page's address.

const token = new URLSearchParams(location.search).get("token") ?? "";

export class Refused extends Error {}

function address(path, params = {}) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== undefined));
  return `/api/${path}${query.size ? `?${query}` : ""}`;
}

/** Tells the answer to the newest question from one to an older question, which may come after it. */
export function newest() {
  let asked = 0;
  return () => {
    const own = ++asked;
    return () => own === asked;
  };
}

/** Address of a picture or a page that the browser fetches by itself. */
export function linked(path, params = {}) {
  return address(path, { ...params, token });
}

async function asked(path, params, options) {
  let answer;
  try {
    answer = await fetch(address(path, params), {
      ...options,
      headers: { "x-token": token, ...options.headers },
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("the studio does not answer: start `caselli studio` again and open its new address");
  }
  if (!answer.ok) throw new Refused(await words(answer));
  return answer;
}

async function words(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text).error ?? text;
  } catch {
    return text || `the studio answered ${answer.status}`;
  }
}

const JSON_HEADERS = { "content-type": "application/json" };

export async function get(path, params = {}) {
  return (await asked(path, params, {})).json();
}

export async function post(path, body, signal) {
  const options = { method: "POST", body: JSON.stringify(body), headers: JSON_HEADERS, signal };
  return (await asked(path, {}, options)).json();
}

export async function postForFile(path, body) {
  return (await asked(path, {}, { method: "POST", body: JSON.stringify(body), headers: JSON_HEADERS })).blob();
}

export async function upload(path, params, file) {
  const headers = { "content-type": "application/octet-stream" };
  return (await asked(path, params, { method: "POST", body: file, headers })).json();
}

/** Work whose parts come as they are done; `part` is called with each. With a body it is begun, else followed. */
export async function stream(path, { params = {}, body }, part, signal) {
  const posted = body && { method: "POST", body: JSON.stringify(body), headers: JSON_HEADERS };
  const answer = await asked(path, params, { ...posted, signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop();
    for (const line of lines.filter(Boolean)) {
      const found = JSON.parse(line);
      if (found.error) throw new Refused(found.error);
      part(found);
    }
    if (done) return;
  }
}
