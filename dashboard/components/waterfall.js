const H = 28, remembered = new WeakMap();
const short = (ms) => ms >= 60000 ? (ms / 60000).toFixed(1) + ' m' : ms >= 1000 ? (ms / 1000).toFixed(ms < 10000 ? 2 : 1) + ' s' : ms >= 1 || ms === 0 ? Math.round(ms) + ' ms' : ms.toFixed(2) + ' ms';

export default function ({ data, parentElement, setStateValue }) {
  const S = data.spans, n = S.id.length, $ = (q) => parentElement.querySelector(q);
  const view = $('.view'), pad = $('.pad'), box = $('input');
  const fresh = !remembered.has(view);
  const me = remembered.get(view) || { closed: new Set(), q: '', sel: null, timer: null };
  remembered.set(view, me);
  if (me.trace !== data.trace) Object.assign(me, { trace: data.trace, closed: new Set(), q: '', sel: null });
  if (!S.id.includes(me.sel)) me.sel = S.id.includes(data.selected) ? data.selected : S.id[0];
  const at = new Map(S.id.map((id, i) => [id, i]));
  const t1 = Math.max(1e-6, ...S.end), parents = new Set(S.parent.filter((p) => p !== null));
  const errors = S.error.reduce((k, bad) => k + (bad ? 1 : 0), 0);
  let rows = [];

  const layout = () => {
    rows = [];
    const q = me.q.trim().toLowerCase();
    let hidden = Infinity;
    for (let i = 0; i < n; i++) {
      if (q) { if (S.find[i].includes(q)) rows.push(i); continue; }
      if (S.depth[i] > hidden) continue;
      hidden = me.closed.has(S.id[i]) ? S.depth[i] : Infinity;
      rows.push(i);
    }
    pad.style.height = rows.length * H + 'px';
    $('.count').textContent = rows.length === n ? n + (n === 1 ? ' span' : ' spans') : rows.length + ' of ' + n + ' spans';
    $('.fold').textContent = me.closed.size ? 'Expand all' : 'Collapse all';
    const jump = $('.next-error');
    jump.textContent = errors === 1 ? '1 error' : errors + ' errors';
    jump.className = 'next-error tone-bad';
    jump.hidden = !errors;
    paint();
  };

  const drawRow = (i, k) => {
    const id = S.id[i], has = parents.has(id), shut = me.closed.has(id);
    const r = el('div', 'row' + (id === me.sel ? ' sel' : '') + (S.error[i] ? ' bad' : '') + (S.kind[i] === 'gap' ? ' gap' : ''));
    r.style.top = k * H + 'px'; r.id = 'span-' + id; r.dataset.i = i;
    r.setAttribute('role', 'treeitem'); r.setAttribute('aria-level', S.depth[i] + 1); r.setAttribute('aria-selected', id === me.sel);
    if (has) r.setAttribute('aria-expanded', !shut);
    const name = el('span', 'name');
    name.style.paddingLeft = 6 + Math.min(S.depth[i], 24) * 14 + 'px';
    name.append(el('span', 'tw', has ? (shut ? '▶' : '▼') : ''), el('span', 'dot op-' + (S.error[i] ? 'error' : S.kind[i])), el('span', 't', S.name[i]));
    if (S.badge[i]) name.append(el('span', 'badge', S.badge[i]));
    name.title = S.name[i];
    const lane = el('span', 'lane'), bar = el('span', 'b op-' + (S.error[i] ? 'error' : S.kind[i]));
    bar.style.left = 100 * S.start[i] / t1 + '%';
    bar.style.width = Math.max(0, 100 * (S.end[i] - S.start[i]) / t1) + '%';
    bar.title = short(S.end[i] - S.start[i]) + ', from ' + short(S.start[i]);
    lane.append(bar);
    if (S.first[i] !== null) {           // the pale part of a streamed call is the wait for its first token
      const wait = el('span', 'b');
      wait.style.left = bar.style.left; wait.style.width = 100 * S.first[i] / t1 + '%';
      wait.style.background = 'var(--st-background-color)'; wait.style.opacity = '.55'; wait.title = 'first token after ' + short(S.first[i]);
      lane.append(wait);
    }
    r.append(name, el('span', 'num tok' + (S.sum[i] ? ' sum' : ''), S.tokens[i]), el('span', 'num cost' + (S.sum[i] ? ' sum' : ''), S.cost[i]),
      el('span', 'num', S.kind[i] === 'gap' ? '' : short(S.end[i] - S.start[i])), lane);
    return r;
  };
  const paint = () => {
    const a = Math.max(0, Math.floor(view.scrollTop / H) - 6), b = Math.min(rows.length, a + Math.ceil(view.clientHeight / H) + 12);
    pad.replaceChildren(...rows.slice(a, b).map((i, k) => drawRow(i, a + k)));
    view.setAttribute('aria-activedescendant', 'span-' + me.sel);
  };
  const reveal = () => {
    const y = rows.indexOf(at.get(me.sel)) * H;
    if (y < 0) return;
    if (y < view.scrollTop) view.scrollTop = y;
    else if (y + H > view.scrollTop + view.clientHeight) view.scrollTop = y + H - view.clientHeight;
  };
  const pick = (i) => {
    if (i === undefined) return;
    if (!rows.includes(i)) {             // open what hides it
      for (let p = S.parent[i]; p !== null; p = S.parent[at.get(p)]) me.closed.delete(p);
      me.sel = S.id[i]; layout();
    }
    me.sel = S.id[i]; reveal(); paint();
    clearTimeout(me.timer);
    me.timer = setTimeout(() => setStateValue('selected', me.sel), 150);
  };
  const toggle = (id, shut) => { if (parents.has(id)) { shut ? me.closed.add(id) : me.closed.delete(id); layout(); } };
  const after = (test) => {              // next span in tree order for which test holds, round the end
    const p = at.get(me.sel);
    for (let k = 1; k <= n; k++) { const i = (p + k) % n; if (test(i)) return i; }
  };
  const costly = () => {
    const order = S.price.map((c, i) => [c, i]).filter(([c]) => c > 0).sort((x, y) => y[0] - x[0]).map(([, i]) => i);
    return order[(order.indexOf(at.get(me.sel)) + 1) % order.length];
  };

  pad.onclick = (e) => {
    const r = e.target.closest('.row');
    if (!r) return;
    const i = +r.dataset.i, id = S.id[i];
    if (e.target.classList.contains('tw')) return toggle(id, !me.closed.has(id));
    pick(i);
  };
  pad.ondblclick = (e) => { const r = e.target.closest('.row'); if (r) toggle(S.id[+r.dataset.i], !me.closed.has(S.id[+r.dataset.i])); };
  view.onscroll = paint;
  if (document.activeElement !== box && parentElement.activeElement !== box) box.value = me.q;
  box.oninput = () => { me.q = box.value; view.scrollTop = 0; layout(); };
  box.onkeydown = (e) => { if (e.key === 'Escape') { box.value = me.q = ''; layout(); view.focus(); } };
  $('.fold').onclick = () => { me.closed = me.closed.size ? new Set() : new Set([...parents].filter((p) => S.depth[at.get(p)] > 0)); layout(); };
  $('.next-error').onclick = () => pick(after((i) => S.error[i]));

  const onKey = (e) => {
    if (notForUs(e)) return;
    const p = rows.indexOf(at.get(me.sel)), i = at.get(me.sel), page = Math.max(1, Math.floor(view.clientHeight / H) - 1);
    const focused = e.composedPath().includes(view), arrows = e.key.startsWith('Arrow') || ['Home', 'End', 'PageUp', 'PageDown'].includes(e.key);
    if (arrows && !focused) return;      // elsewhere they scroll the page
    const to = { ArrowDown: p + 1, j: p + 1, ArrowUp: p - 1, k: p - 1, Home: 0, End: rows.length - 1, PageDown: p + page, PageUp: p - page }[e.key];
    if (to !== undefined) pick(rows[Math.max(0, Math.min(rows.length - 1, to))]);
    else if (e.key === 'ArrowLeft' || e.key === 'h') { if (parents.has(me.sel) && !me.closed.has(me.sel)) toggle(me.sel, true); else if (S.parent[i] !== null) pick(at.get(S.parent[i])); }
    else if (e.key === 'ArrowRight' || e.key === 'l') toggle(me.sel, false);
    else if (e.key === 'e') pick(after((x) => S.error[x]));
    else if (e.key === 'm') pick(after((x) => S.kind[x] === 'model'));
    else if (e.key === 'c') pick(costly());
    else return;
    taken(e);
  };
  listen(me, onKey);

  const ruler = $('.ruler');
  ruler.replaceChildren(...[0, .5, 1].map((f) => { const t = el('i', '', short(t1 * f)); t.style.left = 100 * f + '%'; return t; }));
  layout();
  if (fresh) reveal();
  me.seen?.disconnect();
  me.seen = new ResizeObserver(paint);
  me.seen.observe(view);
  return () => { unlisten(me); me.seen.disconnect(); };
}
