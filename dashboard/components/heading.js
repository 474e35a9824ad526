export default function ({ data, parentElement }) {
  const $ = (q) => parentElement.querySelector(q);
  $('.heading').classList.toggle('small', Boolean(data.small));
  $('h1').textContent = data.title;
  $('h1').setAttribute('aria-level', data.small ? 3 : 1);
  $('.pills').replaceChildren(...data.pills.map(([text, tone]) => el('span', 'pill ' + tone, text)));
  $('.facts').replaceChildren(...data.facts.map((f) => {
    const box = el('span', 'fact');
    const value = el(f.href ? 'a' : 'span', f.mono ? 'mono' : '', f.value);
    if (f.href) follow(value, f.href);
    if (f.title) value.title = f.title;
    box.append(el('b', '', f.label), value);
    if (f.copy) {
      const copy = el('button', 'copy', 'copy');
      copy.type = 'button'; copy.setAttribute('aria-label', 'Copy ' + f.label);
      copy.onclick = () => navigator.clipboard?.writeText(f.copy).then(() => { copy.textContent = 'copied'; setTimeout(() => { copy.textContent = 'copy'; }, 1200); });
      box.append(copy);
    }
    return box;
  }));
}
