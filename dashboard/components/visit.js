let last = null;
export default function ({ data }) {
  if (last === data.at) return;
  last = data.at;
  visit(data.href || saying(data.change));
}
