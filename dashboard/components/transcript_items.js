// Messages as data: {type: turn | fold | message | diff | note, ...}. `ask(id)` asks the server for what is folded away.
const ROLES = { system: 'System', user: 'User', assistant: 'Assistant', tool: 'Tool', tools: 'Tool definitions' };

const drawPart = (part, ask) => {
  const box = el('div', 'part ' + part.kind);
  if (part.label) {
    const head = el('div', 'part-head');
    head.append(el('span', 'part-label', part.label));
    if (part.note) head.append(el('span', 'part-note', part.note));
    box.append(head);
  }
  if (part.text) {
    const body = el(part.mono ? 'pre' : 'div', 'words', part.text);
    box.append(body);
    if (part.text.length > 1600 || part.text.split('\n').length > 22) {
      box.classList.add('long');
      const more = el('button', 'more', 'Show all');
      more.type = 'button';
      more.onclick = () => { more.textContent = box.classList.toggle('whole') ? 'Show less' : 'Show all'; };
      box.append(more);
    }
  }
  if (part.picture && part.picture.startsWith('data:image/webp;base64,')) {
    const picture = el('img', 'picture');
    picture.alt = part.label + ', ' + part.note;
    picture.src = part.picture;
    box.append(picture);
  }
  if (part.rest) {
    const load = el('button', 'load', part.rest);
    load.type = 'button';
    load.onclick = () => { load.disabled = true; load.textContent = 'Loading…'; ask(part.id); };
    box.append(load);
  }
  return box;
};

const drawMessage = (item, ask) => {
  const box = el('div', 'message role-' + (ROLES[item.role] ? item.role : 'other') + (item.old ? ' old' : ''));
  const head = el('div', 'who');
  head.append(el('span', 'role', ROLES[item.role] || item.role || 'Message'));
  if (item.note) head.append(el('span', 'note', item.note));
  box.append(head, ...item.parts.map((p) => drawPart(p, ask)));
  return box;
};

const drawItem = (item, ask) => {
  if (item.type === 'message') return drawMessage(item, ask);
  if (item.type === 'fold') {
    const box = el('div', 'fold' + (item.items ? ' open' : ''));
    const button = el('button', 'fold-button', (item.items ? '▼  ' : '▶  ') + item.label);
    button.type = 'button';
    button.setAttribute('aria-expanded', Boolean(item.items));
    button.onclick = () => { if (!item.items) button.textContent = 'Loading…'; ask(item.id); };
    box.append(button);
    if (item.items) box.append(...item.items.map((m) => drawItem({ ...m, old: true }, ask)));
    return box;
  }
  if (item.type === 'diff') {
    const box = el('div', 'diff');
    box.append(el('div', 'diff-title', item.title));
    const body = el('div', 'words');
    for (const [op, text] of item.runs) body.append(op === 'same' ? document.createTextNode(text) : el(op === 'add' ? 'ins' : 'del', '', text));
    box.append(body);
    return box;
  }
  if (item.type === 'turn') {
    const box = el('div', 'turn');
    const title = el(item.href ? 'a' : 'span', 'turn-title', item.title);
    if (item.href) follow(title, item.href);
    box.append(title, el('span', 'turn-meta', item.meta));
    if (item.flag) box.append(el('span', 'pill ' + (item.tone || ''), item.flag));
    return box;
  }
  return el('div', 'remark tone-' + (item.tone || 'soft'), item.text);
};
