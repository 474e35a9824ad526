const remembered = new WeakMap();
const ACTS = { a: 'approved', f: 'flagged', r: 'rejected' };
const LOOKS = { approved: 'good', flagged: 'warn', rejected: 'bad', unreviewed: '' };
const TITLES = { approved: 'Approved', flagged: 'Flagged', rejected: 'Rejected', unreviewed: 'Unreviewed' };

export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  const $ = (q) => parentElement.querySelector(q), card = $('.card'), note = $('textarea'), list = $('.list');
  const me = remembered.get(card) || { at: null, log: newLog(), mine: {}, acts: [], notes: {}, queue: null, refused: new Map() };
  remembered.set(card, me);
  const items = data.items, n = items.length, at = new Map(items.map((it, i) => [it.id, i]));
  if (me.queue !== data.queue) Object.assign(me, { queue: data.queue, at: null, acts: [] });
  acknowledge(me.log, data.acked);
  const unsaved = new Set(me.log.entries.map((d) => d.id));
  for (const id of Object.keys(me.mine)) if (!unsaved.has(id)) delete me.mine[id];
  if (!at.has(me.at)) me.at = (items.find((it) => it.state === 'unreviewed') || items[0]).id;
  // The deck has gone on when it is told that a decision was refused: that is said wherever it stands, until it is seen.
  const clashes = data.clashes || {};
  for (const id of me.refused.keys()) if (!clashes[id]) me.refused.delete(id);
  for (const [id, text] of Object.entries(clashes)) if (at.has(id) && !unsaved.has(id) && me.refused.get(id)?.text !== text) me.refused.set(id, { text, seen: false });
  const send = (log) => setStateValue('log', log);
  const asked = new Set(data.opened || []);
  const ask = (id) => { asked.has(id) ? asked.delete(id) : asked.add(id); setStateValue('opened', [...asked]); };
  const stateOf = (it) => me.mine[it.id] || it.state;

  const drawList = () => {
    const done = items.filter((it) => stateOf(it) !== 'unreviewed').length;
    $('.track b').style.width = 100 * done / n + '%';
    $('.left').textContent = done + ' of ' + n + ' reviewed' + (data.more ? ', ' + data.more : '');
    list.replaceChildren(...items.map((it) => {
      const b = el('button', 'entry' + (it.id === me.at ? ' here' : '')), line = el('span', 'n');
      b.type = 'button'; b.setAttribute('role', 'option'); b.setAttribute('aria-selected', it.id === me.at);
      line.append(el('i', 'mark ' + stateOf(it)), el('span', '', it.title));
      line.firstChild.title = TITLES[stateOf(it)];
      b.append(line, el('span', 'w', it.why));
      b.onclick = () => go(at.get(it.id));
      return b;
    }));
    list.querySelector('.here')?.scrollIntoView({ block: 'nearest' });
  };
  const untold = () => [...me.refused].filter(([id, told]) => id === me.at || !told.seen);
  const drawSaved = () => {
    const k = me.log.entries.length, lost = untold().length;
    $('.saved').textContent = data.problem ? data.problem : k ? 'Saving ' + k + '…' : lost ? lost + ' not stored' : me.log.seq ? 'All decisions saved' : '';
    $('.saved').className = 'saved' + (data.problem || (!k && lost) ? ' tone-bad' : '');
    $('.undo').disabled = !me.acts.length;
  };
  const drawRefused = (id, text) => {
    const line = el('div');
    if (id === me.at) { line.textContent = text; return line; }
    const back = el('button', '', 'Go to it');
    back.type = 'button';
    back.onclick = () => go(at.get(id));
    line.append(el('b', '', items[at.get(id)].title), el('span', '', ': ' + text + ' '), back);
    return line;
  };
  const drawCard = () => {
    const it = items[at.get(me.at)], state = stateOf(it), clash = me.refused.get(it.id);
    const title = $('.title');
    title.textContent = it.title; follow(title, it.href);
    const pill = $('.state');
    pill.textContent = TITLES[state]; pill.className = 'pill state ' + LOOKS[state];
    $('.facts').replaceChildren(...it.facts.map((f) => el('span', '', f)));
    if (clash) clash.seen = true;
    const notices = untold().map(([id, told]) => drawRefused(id, told.text));
    $('.clash').replaceChildren(...notices);
    $('.clash').className = 'clash' + (notices.length ? ' on' : '');
    $('.items').replaceChildren(...it.items.map((item) => drawItem(item, ask)));
    note.value = me.notes[it.id] || '';
  };
  const draw = (moved) => { drawList(); drawCard(); drawSaved(); if (moved) $('.body').scrollTop = 0; };
  const go = (i) => { me.at = items[Math.max(0, Math.min(n - 1, i))].id; draw(true); };

  const decide = (state) => {
    const it = items[at.get(me.at)];
    const comment = (me.notes[it.id] || '').trim() || null;
    const entry = { id: it.id, state, comment, revision: it.revision + me.log.entries.filter((d) => d.id === it.id).length };
    me.acts = [...me.acts.slice(-49), { seq: record(me.log, entry, send), id: it.id, before: stateOf(it) }];
    me.mine[it.id] = state;
    me.refused.delete(it.id);
    delete me.notes[it.id];
    note.blur();
    if (at.get(me.at) < n - 1) go(at.get(me.at) + 1); else draw(false);
  };
  const undo = () => {
    const act = me.acts.pop();
    if (!act || !at.has(act.id)) return;
    record(me.log, { id: act.id, undo: act.seq }, send);
    me.mine[act.id] = act.before;
    go(at.get(act.id));
  };

  const onKey = (e) => {
    if (notForUs(e)) return;
    const i = at.get(me.at);
    if (e.key === 'j' || e.key === 's') go(i + 1);
    else if (e.key === 'k') go(i - 1);
    else if (ACTS[e.key]) decide(ACTS[e.key]);
    else if (e.key === 'u') undo();
    else if (e.key === 'n') note.focus();
    else if (e.key === 'Enter' && !(e.composedPath()[0].closest && e.composedPath()[0].closest('a,button'))) visit(items[at.get(me.at)].href);
    else return;
    taken(e);
  };
  listen(me, onKey);
  note.oninput = () => { me.notes[me.at] = note.value; };
  note.onkeydown = (e) => {
    if (e.key === 'Escape') { note.blur(); taken(e); }
    else if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) { if (note.value.trim()) decide(stateOf(items[at.get(me.at)])); taken(e); }
  };
  $('.acts').onclick = (e) => {
    const act = e.target.closest('[data-act]');
    if (act) decide(act.dataset.act); else if (e.target.closest('.undo')) undo();
  };
  draw(false);
  return () => { unlisten(me); flush(me.log, send); };
}
