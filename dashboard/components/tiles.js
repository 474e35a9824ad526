const SVG = 'http://www.w3.org/2000/svg';
const spark = (values) => {
  const svg = document.createElementNS(SVG, 'svg'), top = Math.max(...values, 1e-9), n = values.length - 1;
  svg.setAttribute('viewBox', '0 0 100 30'); svg.setAttribute('preserveAspectRatio', 'none'); svg.setAttribute('aria-hidden', 'true');
  const points = values.map((v, i) => (100 * i / n).toFixed(2) + ' ' + (28 - 24 * v / top).toFixed(2));
  for (const [cls, d] of [['area', 'M0 30 L' + points.join(' L') + ' L100 30 Z'], ['line', 'M' + points.join(' L')]]) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('class', cls); path.setAttribute('d', d); svg.append(path);
  }
  return svg;
};
export default function ({ data, parentElement }) {
  const sparks = data.tiles.some((t) => t.spark && t.spark.length > 1);
  parentElement.querySelector('.tiles').replaceChildren(...data.tiles.map((t) => {
    const tile = el(t.href ? 'a' : 'div', 'tile'), label = el('span', 'label', t.label);
    if (!t.href) tile.setAttribute('role', 'listitem');
    tile.dataset.tile = t.label;
    if (t.href) { label.append(el('i', '', '→')); follow(tile, t.href); }
    tile.title = t.title || '';
    tile.append(label, el('span', 'value', t.value), el('span', 'delta' + (t.tone ? ' tone-' + t.tone : ''), t.delta || ''));
    if (sparks) tile.append(t.spark && t.spark.length > 1 ? spark(t.spark) : el('span', 'flat'));
    else tile.classList.add('low');
    return tile;
  }));
}
