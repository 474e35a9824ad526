// Streamlit loses parameters of widgets in closed popovers when the page changes, and writes each as an entry of its own
// or over the present one. After a run the address says what is in force, and a changed view is one entry.
export default function ({ data }) {
  const at = (window.spanfoldAddress ||= { drawn: {} }), entry = () => window.navigation?.currentEntry?.key;
  const settle = () => {
    const url = saying(data.query);
    if (url !== location.href) history.replaceState({}, '', url);
  };
  if (at.drawn[data.part] === data.at) return;       // drawn again while another view is on its way
  at.drawn[data.part] = data.at;
  settle();
  if (data.step) {
    const said = JSON.stringify(data.query), changed = at.said !== said && at.path === location.pathname;
    if (changed && entry() && entry() === at.entry) {   // written over the view before: give that its entry back
      const now = location.href;
      history.replaceState({}, '', at.href);
      history.pushState({}, '', now);
    }
    at.said = said;
  }
  Object.assign(at, { path: location.pathname, entry: entry(), href: location.href });
  const later = setTimeout(() => {       // widgets that went are told of after the run
    if (document.querySelector('[data-testid=stApp]')?.dataset.testScriptState !== 'notRunning') return;
    settle();
    at.href = location.href;
  }, 300);
  return () => clearTimeout(later);
}
