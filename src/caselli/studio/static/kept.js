// What a tab keeps over a reload, and hands from page to page: pictures by their codes.

export function kept(run, name, otherwise = null) {
  try {
    return JSON.parse(sessionStorage.getItem(`${name} ${run}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function keep(run, name, value) {
  try {
    sessionStorage.setItem(`${name} ${run}`, JSON.stringify(value));
  } catch {
    // a full or forbidden store: the tab keeps it until it is reloaded
  }
}
