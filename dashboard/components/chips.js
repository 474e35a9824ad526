export default function ({ data, parentElement, setTriggerValue }) {
  const box = parentElement.querySelector('.chips');
  const nodes = data.chips.map((c) => {
    const chip = el('span', 'chip'), cross = el('button', '', '×');
    chip.setAttribute('role', 'listitem');
    cross.type = 'button'; cross.setAttribute('aria-label', 'Remove ' + c.label + ' ' + c.value);
    cross.onclick = () => setTriggerValue('removed', [c.key, c.value]);
    const value = el('span', '', c.value);
    value.title = c.value;
    chip.append(el('b', '', c.label), value, cross);
    return chip;
  });
  const all = el('button', 'all', 'Clear all');
  all.type = 'button';
  all.onclick = () => visit(saying(data.none));
  box.replaceChildren(...nodes, all);
}
