const remembered = new WeakMap();
export default function ({ data, parentElement, setTriggerValue }) {
  const me = remembered.get(parentElement) || { g: 0 };
  remembered.set(parentElement, me);
  const onKey = (e) => {
    if (notForUs(e)) return;
    const went = performance.now() - me.g < 900;
    me.g = 0;
    if (went && data.go[e.key]) {
      const link = [...document.querySelectorAll('[data-testid=stSidebarNav] a, [data-testid=stSidebarNavLink]')].find((a) => new URL(a.href).pathname.replace(/\/$/, '').endsWith(data.go[e.key]));
      if (link) link.click();
    } else if (e.key === 'g') me.g = performance.now();
    else if (e.key === '/') { const box = document.querySelector('.st-key-q input'); if (!box) return; box.focus(); box.select(); }
    else if (e.key === 'y') navigator.clipboard?.writeText(location.href).then(() => setTriggerValue('copied', true));
    else if (e.key === '?') setTriggerValue('help', true);
    else if (e.key === 'Escape' && data.back) setTriggerValue('back', true);
    else return;
    taken(e);
  };
  listen(me, onKey);
  return () => unlisten(me);
}
