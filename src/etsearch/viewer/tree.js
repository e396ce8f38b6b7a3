"use strict";
// The drawing of a search's tree: used by the page of one search, and by the gateway's page while searches go on.
const NS = "http://www.w3.org/2000/svg";
const make = (name, attributes, parent, text) => {
  const element = document.createElementNS(NS, name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.appendChild(element);
  return element;
};
// A scale that grows darker with the reward and is told apart without colour vision.
const STOPS = [[253, 231, 37], [94, 201, 98], [33, 145, 140], [59, 82, 139], [68, 1, 84]];
const rewardColour = reward => {
  if (reward === null) return "#9a9a9f";
  const place = Math.min(Math.max(reward, 0), 1) * (STOPS.length - 1), low = Math.min(Math.floor(place), STOPS.length - 2);
  return `rgb(${STOPS[low].map((c, i) => Math.round(c + (STOPS[low + 1][i] - c) * (place - low))).join(",")})`;
};
const clusterColour = cluster => cluster === null ? "#c9c9ce" : `hsl(${(cluster * 137.508) % 360} 62% 48%)`;
const rewardScale = () => `linear-gradient(90deg, ${[0, .25, .5, .75, 1].map(rewardColour).join(",")})`;

const CHART = 74, LEFT = 46, TOP = CHART + 22;

// A trajectory that a limit cut has ended too; only "answered" is completed, and "failed" was lost.
const status = node => node.end === "failed" ? "failed" : node.end === "answered" ? "completed" : node.end !== null ? "cut"
  : node.width > 0 ? "kept" : "pruned";

// The nodes of each depth, in the order of their parents, so that no two branches cross.
function orderNodes(search) {
  search.nodes.forEach((node, i) => { node.id = i + 1; });
  const order = search.depths.map(() => []);
  for (const node of search.nodes) order[node.depth - 1].push(node);
  const place = new Map([[0, 0]]);
  order.forEach(nodes => {
    nodes.sort((a, b) => place.get(a.parent) - place.get(b.parent) || a.id - b.id);
    nodes.forEach((node, i) => place.set(node.id, i));
  });
  return order;
}

const fittingRow = (order, height) => Math.max(4, Math.min(18, Math.floor(height / Math.max(1, ...order.map(nodes => nodes.length)))));

const pathTo = (search, node) => { const path = []; for (let n = node; n; n = search.nodes[n.parent - 1]) path.unshift(n); return path; };

// Draws a tree in place of what is in `main`. `view`: row (height), shown (depths), withPruned, byCluster, chosen, choose(node).
function drawTree(main, search, order, view) {
  const { row, shown, chosen } = view;
  const wide = Math.max(110, Math.min(230, (main.clientWidth - LEFT - 60) / Math.max(1, search.depths.length)));
  const visible = order.map(nodes => nodes.filter(node => view.withPruned || status(node) !== "pruned"));
  const tallest = Math.max(1, ...visible.map(nodes => nodes.length));
  const height = TOP + tallest * row + 24, width = LEFT + wide * search.depths.length + 70;
  const svg = make("svg", { width, height, id: "tree", role: "img" });
  const at = new Map([[0, [LEFT, TOP + tallest * row / 2]]]);
  visible.forEach((nodes, i) => {
    const top = TOP + (tallest - nodes.length) * row / 2;
    nodes.forEach((node, j) => at.set(node.id, [LEFT + wide * (i + 1), top + (j + 0.5) * row]));
  });
  drawCosts(svg, search, wide, shown);
  const links = make("g", { fill: "none" }, svg), marks = make("g", {}, svg);
  make("circle", { cx: LEFT, cy: at.get(0)[1], r: 5, fill: "#1c1c1e" }, marks);
  const path = chosen ? new Set(pathTo(search, chosen).map(n => n.id)) : new Set();
  const radius = Math.max(1.6, Math.min(5, row * 0.42));
  for (const nodes of visible) for (const node of nodes) {
    const [x, y] = at.get(node.id), [px, py] = at.get(node.parent), kind = status(node);
    const future = node.depth > shown ? " future" : "", on = path.has(node.id);
    const middle = px + (x - px) * 0.55;
    make("path", { d: `M${px},${py}C${middle},${py} ${middle},${y} ${x},${y}`, class: "link" + future,
      stroke: on ? "#000" : kind === "pruned" ? "#dcdce0" : "#9fb3c8", "stroke-width": on ? 2 : kind === "pruned" ? 0.7 : 1.2 }, links);
    const group = make("g", { class: `node ${kind}${future}`, "data-node": node.id, tabindex: 0 }, marks);
    const colour = view.byCluster ? clusterColour(node.cluster) : rewardColour(node.reward);
    if (kind === "failed") make("path", { d: `M${x - radius},${y - radius}L${x + radius},${y + radius}M${x - radius},${y + radius}L${x + radius},${y - radius}`,
      stroke: "#b3261e", "stroke-width": 1.8 }, group);
    else if (kind === "cut") make("rect", { x: x - radius, y: y - radius, width: 2 * radius, height: 2 * radius, fill: "#fff", stroke: colour, "stroke-width": 1.5 }, group);
    else if (kind === "completed") make("rect", { x: x - radius, y: y - radius, width: 2 * radius, height: 2 * radius, fill: colour }, group);
    else if (kind === "kept") make("circle", { cx: x, cy: y, r: radius, fill: colour }, group);
    else make("circle", { cx: x, cy: y, r: radius * 0.65, fill: "#fff", stroke: colour, "stroke-width": 1.3 }, group);
    if (on && row < 8) make("circle", { cx: x, cy: y, r: radius + 3, fill: "none", stroke: "#000" }, group);
    make("title", {}, group, `${node.text.trim()}\nreward ${node.reward === null ? "none" : node.reward.toFixed(3)}, ${kind}`);
    if (row >= 14 && node.width > 1) make("text", { x: x + radius + 3, y: y + 4 }, group, `×${node.width}`);
    if (node.end !== null && row >= 10) make("text", { x: x + radius + 4, y: y + 4 }, group, node.answer === null ? node.end : node.answer);
    group.addEventListener("click", () => view.choose(node));
    group.addEventListener("keydown", event => { if (event.key === "Enter") view.choose(node); });
  }
  main.replaceChildren(svg);
}

function drawCosts(svg, search, wide, shown) {
  const most = Math.max(1, ...search.depths.map(d => d.kv)), bars = make("g", {}, svg);
  make("text", { x: 4, y: 12 }, bars, "KV");
  make("text", { x: 4, y: 25 }, bars, "tokens");
  search.depths.forEach((d, i) => {
    const x = LEFT + wide * (i + 1), tall = (CHART - 24) * d.kv / most, kept = (CHART - 24) * d.kept_kv / most;
    const group = make("g", { class: "kv" + (i + 1 > shown ? " future" : "") }, bars);
    make("rect", { x: x - 16, y: CHART - tall, width: 32, height: tall, fill: "#c7d3e0" }, group);
    make("rect", { x: x - 16, y: CHART - kept, width: 32, height: kept, fill: "#3b528b" }, group);
    make("text", { x, y: CHART - tall - 4, "text-anchor": "middle" }, group, d.kv.toLocaleString("en"));
    make("title", {}, group, `depth ${i + 1}: ${d.kv} KV tokens, ${d.kept_kv} of them kept; ${d.kv_unshared} if nothing were shared`);
    make("text", { x, y: CHART + 14, "text-anchor": "middle" }, group, `depth ${i + 1}`);
  });
}

function fill(table, header, rows, rowClass = () => "") {
  table.replaceChildren();
  const head = table.insertRow();
  for (const text of header) { const cell = document.createElement("th"); cell.textContent = text; head.appendChild(cell); }
  rows.forEach((values, i) => {
    const row = table.insertRow();
    row.className = rowClass(i);
    for (const value of values) row.insertCell().textContent = value;
  });
}

function fillVotes(table, votes) {
  const total = votes.reduce((sum, v) => sum + v.weight, 0) || 1;
  fill(table, ["answer", "weight", "share", "trajectories"], votes.map(v =>
    [v.answer, v.weight.toFixed(2), `${(100 * v.weight / total).toFixed(0)} %`, v.count]), row => row === 0 ? "winner" : "");
}
