const remembered = new WeakMap();
export default function ({ data, parentElement, setTriggerValue }) {
  const me = remembered.get(parentElement) || { g: 0 };
  remembered.set(parentElement, me);
  const pages = () => document.querySelectorAll('[data-testid=stSidebarNavLink]');
  const under = (link) => new URL(link.href).pathname + data.query;
  pages().forEach((link) => { link.href = under(link); });
  const onClick = (e) => {
    const link = [...pages()].find((a) => e.composedPath().includes(a));
    if (!link || elsewhere(e) || e.button) return;
    taken(e);
    visit(under(link));
  };
  const onKey = (e) => {
    if (notForUs(e)) return;
    const went = performance.now() - me.g < 900;
    me.g = 0;
    if (went && data.go[e.key]) {
      const link = [...pages()].find((a) => new URL(a.href).pathname.replace(/\/$/, '').endsWith(data.go[e.key]));
      if (link) link.click();
    } else if (e.key === 'g') me.g = performance.now();
    else if (e.key === '/') { const box = document.querySelector('.st-key-q input'); if (!box) return; box.focus(); box.select(); }
    else if (e.key === 'y') navigator.clipboard?.writeText(location.href).then(() => setTriggerValue('copied', true));
    else if (e.key === '?') setTriggerValue('help', true);
    else if (e.key === 'Escape' && data.back) visit(data.back);
    else return;
    taken(e);
  };
  listen(me, onKey);
  window.addEventListener('click', onClick, true);
  return () => { unlisten(me); window.removeEventListener('click', onClick, true); };
}
