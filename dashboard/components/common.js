// Shared by every component: text goes into the page as textContent only, never as HTML.
const el = (tag, cls, text) => {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  if (text !== undefined && text !== null) node.textContent = text;
  return node;
};

// A link opens as the browser's Back does: the address says which view, Streamlit follows. One click, one entry.
const visit = (href) => {
  if (new URL(href, location.href).href === location.href) return;
  history.pushState({}, '', href);
  window.dispatchEvent(new PopStateEvent('popstate', { state: {} }));
};
const elsewhere = (e) => e.ctrlKey || e.metaKey || e.shiftKey;   // the browser opens those in a tab or window
const follow = (node, href) => {
  node.href = href;
  node.onclick = (e) => { if (elsewhere(e)) return; e.preventDefault(); visit(href); };
};

const saying = (query) => {            // the present address with these parameters, the others as they are
  const url = new URL(location.href);
  for (const [key, values] of Object.entries(query)) {
    if (JSON.stringify(url.searchParams.getAll(key)) === JSON.stringify(values)) continue;
    url.searchParams.delete(key);
    values.forEach((value) => url.searchParams.append(key, value));
  }
  return url.href;
};

// Keys belong to whoever types, to an open dialog or menu, and to the browser's own combinations.
const notForUs = (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing || e.defaultPrevented) return true;
  if (document.querySelector('[role=dialog],[data-testid=stPopoverBody],[data-testid=stSelectboxVirtualDropdown]')) return true;
  const at = e.composedPath()[0];
  return at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName || '');
};

const taken = (e) => { e.preventDefault(); e.stopImmediatePropagation(); };

// A component is drawn again with new data while its last listener still stands: the newest one replaces it.
const listen = (me, handler) => {
  unlisten(me);
  me.keys = handler;
  window.addEventListener('keydown', handler, true);
};
const unlisten = (me) => { if (me.keys) window.removeEventListener('keydown', me.keys, true); me.keys = null; };

// Decisions are kept here until the server says that it has stored them. `run` names this log for good, so that an act
// sent twice is one act.
const newLog = () => ({ run: Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, '0')).join(''),
  seq: 0, entries: [], timer: null });
const acknowledge = (log, acked) => {
  if (acked && acked.run === log.run) log.entries = log.entries.filter((d) => d.seq > acked.seq);
};
const record = (log, entry, send) => {
  log.entries = [...log.entries, { ...entry, seq: ++log.seq }];
  clearTimeout(log.timer);
  log.timer = setTimeout(() => send({ run: log.run, entries: log.entries }), 120);
  return log.seq;
};
const flush = (log, send) => {
  if (!log.timer || !log.entries.length) return;
  clearTimeout(log.timer);
  log.timer = null;
  send({ run: log.run, entries: log.entries });
};
