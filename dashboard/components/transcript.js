export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  const box = parentElement.querySelector('.items');
  const asked = new Set(data.opened || []);
  const ask = (id) => { asked.has(id) ? asked.delete(id) : asked.add(id); setStateValue('opened', [...asked]); };
  box.replaceChildren(...data.items.map((item) => drawItem(item, ask)));
  box.onclick = (e) => {
    const link = e.target.closest('a[data-go]');
    if (!link || e.ctrlKey || e.metaKey || e.shiftKey) return;
    e.preventDefault();
    setTriggerValue('go', link.dataset.go);
  };
}
