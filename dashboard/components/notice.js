export default function ({ data, parentElement }) {
  const box = parentElement.querySelector('.notice');
  box.className = 'sf notice ' + data.tone;
  box.textContent = data.text;
}
