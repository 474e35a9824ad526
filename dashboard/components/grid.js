const remembered = new WeakMap();
const STATES = { a: 'approved', f: 'flagged', r: 'rejected' };
const LOOKS = { approved: 'good', flagged: 'warn', rejected: 'bad', unreviewed: 'none' };
const TITLES = { approved: 'Approved', flagged: 'Flagged', rejected: 'Rejected', unreviewed: '–' };

export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  const $ = (q) => parentElement.querySelector(q), root = $('.grid'), head = $('thead'), body = $('tbody'), foot = $('.foot');
  const me = remembered.get(root) || { here: -1, picks: new Set(data.picked || []), log: newLog(), done: {}, sort: null, anchor: 0, stamp: null };
  remembered.set(root, me);
  if (me.stamp !== data.stamp) { me.stamp = data.stamp; me.picks = new Set(data.picked || []); }
  if (me.page !== data.page) { me.page = data.page; me.here = -1; }
  acknowledge(me.log, data.acked);
  const unsaved = new Set(me.log.entries.flatMap((d) => d.ids));
  for (const id of Object.keys(me.done)) if (!unsaved.has(id)) delete me.done[id];
  const send = (log) => setStateValue('log', log);
  const C = data.columns;
  let rows = data.rows;

  const tellPicks = () => { clearTimeout(me.timer); me.timer = setTimeout(() => setStateValue('picks', { stamp: me.stamp, ids: [...me.picks] }), 120); };
  const pick = (i, on) => { const id = rows[i].id; (on ?? !me.picks.has(id)) ? me.picks.add(id) : me.picks.delete(id); me.anchor = i; mark(); tellPicks(); };
  const decide = (state, ids) => {
    if (!ids.length) return;
    const now = ids.map((id) => rows.find((r) => r.id === id)), review = C.findIndex((c) => c.kind === 'review');
    record(me.log, { state, ids, before: now.map((r) => me.done[r.id] || r.cells[review]), revisions: now.map((r) => r.revision ?? null) }, send);
    ids.forEach((id) => { me.done[id] = state; });
    draw();
  };
  // What is picked may lie on other pages, and may be asked about first: the server does it, and clears the picks.
  const act = (what) => setTriggerValue('act', { stamp: me.stamp, ...what });
  const undo = () => {
    const waiting = me.log.entries, taken = new Set(waiting.map((d) => d.undo));
    const last = waiting.findLast((d) => d.state && !taken.has(d.seq));
    if (last) {
      last.ids.forEach((id, i) => { me.done[id] = last.before[i]; });
      record(me.log, { ids: last.ids, undo: last.seq }, send);
      draw();
    } else if (!waiting.length) act({ do: 'undo' });
  };
  const open = (row, e) => {
    if (!row.href) return;
    if (e && elsewhere(e)) return;
    e?.preventDefault();
    if (data.here) setTriggerValue('open', row.id); else visit(row.href);
  };

  const inside = (cell, column, row) => {
    if (column.kind === 'review') { const s = me.done[row.id] || cell; return el('span', 'pill ' + (LOOKS[s] || ''), TITLES[s] || s); }
    if (cell === null || cell === undefined) return el('span', 'tone-soft', '–');
    if (typeof cell !== 'object') cell = { t: cell };
    let node;
    if (cell.pill) node = el('span', 'pill ' + cell.pill, cell.t);
    else if (cell.list) { node = el('span', 'tags'); node.append(...cell.list.map((t) => el('span', 'pill', t))); }
    else if (column.main && row.href) { node = el('a', 'open', cell.t); node.href = row.href; node.onclick = (e) => open(row, e); }
    else if (cell.href) { node = el('a', 'open', cell.t); follow(node, cell.href); }
    else if (cell.filter) { node = el('button', 'filter', cell.t); node.type = 'button'; node.title = 'Filter by ' + cell.t; node.onclick = () => setTriggerValue('filter', cell.filter); }
    else node = el('span', cell.tone ? 'tone-' + cell.tone : '', cell.t);
    if (cell.bar !== undefined && cell.bar !== null) {
      const meter = el('span', 'meter' + (cell.tone ? ' tone-' + cell.tone : '')), track = el('i'), fill = el('b');
      fill.style.width = Math.max(2, Math.min(100, 100 * cell.bar)) + '%';
      track.append(fill); meter.append(track, node); node = meter;
    }
    return node;
  };
  const drawRow = (row, i) => {
    const tr = el('tr', 'fade');
    tr.dataset.id = row.id;
    if (data.pickable) {
      const td = el('td', 'pick'), box = el('input');
      box.type = 'checkbox'; box.checked = me.picks.has(row.id); box.setAttribute('aria-label', 'Pick ' + row.label);
      box.onclick = (e) => { if (e.shiftKey) { const [a, b] = [me.anchor, i].sort((x, y) => x - y); for (let k = a; k <= b; k++) me.picks.add(rows[k].id); mark(); tellPicks(); } else pick(i, box.checked); };
      td.append(box); tr.append(td);
    }
    C.forEach((column, c) => {
      const cell = row.cells[c], td = el('td', [column.align === 'right' ? 'r' : '', column.kind || '', column.main ? 'main' : ''].join(' ').trim());
      td.append(inside(cell, column, row));
      if (cell && typeof cell === 'object' && cell.sub) td.append(el('span', 'sub', cell.sub));
      if (cell && typeof cell === 'object' && cell.title) td.title = cell.title; else if (td.textContent.length > 24) td.title = td.textContent;
      tr.append(td);
    });
    return tr;
  };
  const mark = () => {
    [...body.children].forEach((tr, i) => {
      const on = me.picks.has(tr.dataset.id), box = tr.querySelector('input');
      tr.classList.toggle('picked', on); tr.classList.toggle('here', i === me.here);
      if (box) box.checked = on;
    });
    const all = head.querySelector('input');
    if (all) { const k = rows.filter((r) => me.picks.has(r.id)).length; all.checked = k > 0 && k === rows.length; all.indeterminate = k > 0 && k < rows.length; }
  };
  const drawHead = () => {
    const tr = el('tr');
    if (data.pickable) {
      const th = el('th', 'pick'), box = el('input');
      box.type = 'checkbox'; box.setAttribute('aria-label', 'Pick all rows of this page');
      box.onclick = () => { rows.forEach((r) => (box.checked ? me.picks.add(r.id) : me.picks.delete(r.id))); mark(); tellPicks(); };
      th.append(box); tr.append(th);
    }
    C.forEach((column, c) => {
      const th = el('th', (column.align === 'right' ? 'r' : '') + (me.sort && me.sort[0] === c ? ' sorted' : ''));
      th.scope = 'col';
      if (column.help) th.title = column.help;
      if (data.sortable) {
        const b = el('button', '', column.label + (me.sort && me.sort[0] === c ? (me.sort[1] > 0 ? ' ↑' : ' ↓') : ''));
        b.type = 'button';
        b.onclick = () => { me.sort = me.sort && me.sort[0] === c ? [c, -me.sort[1]] : [c, column.align === 'right' ? -1 : 1]; draw(); };
        th.append(b);
        if (me.sort && me.sort[0] === c) th.setAttribute('aria-sort', me.sort[1] > 0 ? 'ascending' : 'descending');
      } else th.textContent = column.label;
      tr.append(th);
    });
    head.replaceChildren(tr);
  };
  const weight = (cell) => (cell === null || cell === undefined ? null : typeof cell !== 'object' ? cell : cell.v !== undefined ? cell.v : cell.t);
  const draw = () => {
    rows = data.rows;
    if (me.sort) {
      const [c, way] = me.sort;
      rows = [...rows].sort((x, y) => { const a = weight(x.cells[c]), b = weight(y.cells[c]); return a === b ? 0 : a === null ? 1 : b === null ? -1 : (a < b ? -1 : 1) * way; });
    }
    drawHead();
    body.replaceChildren(...rows.map(drawRow));
    const unsavedNow = me.log.entries.length;
    foot.textContent = data.problem || (unsavedNow ? 'Saving ' + unsavedNow + (unsavedNow === 1 ? ' decision…' : ' decisions…') : data.foot || '');
    foot.className = 'foot' + (foot.textContent ? ' on' : '') + (data.problem ? ' tone-bad' : '');
    mark();
  };

  const onButton = (e) => e.composedPath()[0].closest?.('a,button');
  const onKey = (e) => {
    if (!data.keys || notForUs(e) || !rows.length) return;
    const move = { j: 1, k: -1 }[e.key];
    if (move) { me.here = Math.max(0, Math.min(rows.length - 1, me.here + move)); mark(); body.children[me.here]?.scrollIntoView({ block: 'nearest' }); }
    else if (e.key === 'x' && data.pickable && me.here >= 0) pick(me.here);
    else if (e.key === 'X' && data.pickable && me.here >= 0) { const [a, b] = [me.anchor, me.here].sort((x, y) => x - y); for (let k = a; k <= b; k++) me.picks.add(rows[k].id); mark(); tellPicks(); }
    else if (data.asking && e.key === 'Enter' && !onButton(e)) act({ do: 'store' });
    else if (data.asking && e.key === 'Escape') act({ do: 'drop' });
    else if (e.key === 'Enter' && me.here >= 0 && !onButton(e)) open(rows[me.here]);
    else if (e.key === 'u' && data.decide) undo();
    else if (STATES[e.key] && data.decide && me.picks.size) act({ do: STATES[e.key], ids: [...me.picks] });
    else if (STATES[e.key] && data.decide) decide(STATES[e.key], me.here >= 0 ? [rows[me.here].id] : []);
    else return;
    taken(e);
  };
  listen(me, onKey);
  draw();
  return () => { unlisten(me); flush(me.log, send); };
}
