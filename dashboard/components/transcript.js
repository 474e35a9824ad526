export default function ({ data, parentElement, setStateValue }) {
  const box = parentElement.querySelector('.items');
  const asked = new Set(data.opened || []);
  const ask = (id) => { asked.has(id) ? asked.delete(id) : asked.add(id); setStateValue('opened', [...asked]); };
  box.replaceChildren(...data.items.map((item) => drawItem(item, ask)));
}
