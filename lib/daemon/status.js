// The status page of litestreamd: sorts, filters as one types, refreshes.
// Without it the page is whole, and its form filters on the server.
"use strict";
(() => {
	const table = document.querySelector("table");
	const form = document.querySelector("form");
	const none = document.getElementById("none");
	const live = document.getElementById("live");
	const heads = [...table.tHead.rows[0].cells];
	const collator = new Intl.Collator(undefined, { numeric: true });
	let rows = [];
	let column = -1; // as it came: what needs attention first
	let down = false;
	// Laying out ten thousand rows takes seconds, and nobody reads them:
	// so many are shown, those that the sorting puts first.
	const MOST = 500;
	let most = MOST;

	function read(body) {
		rows = [...body.rows].map((tr) => ({
			tr,
			path: tr.querySelector(".dir").textContent +
				tr.querySelector("b").textContent,
			state: tr.querySelector(".state").textContent,
		}));
	}

	function key(row, i) {
		const cell = row.tr.cells[i];
		if (i === 0)
			return row.path;
		return "v" in cell.dataset ? Number(cell.dataset.v)
			: cell.textContent;
	}

	function sorted(list) {
		if (column < 0)
			return list;
		const keyed = list.map((row, i) => [key(row, column), i, row]);
		const sign = down ? -1 : 1;
		keyed.sort(([a, i], [b, k]) => (typeof a === "number" ? a - b
			: collator.compare(a, b)) * sign || i - k);
		return keyed.map((k) => k[2]);
	}

	function show() {
		const q = form.q.value.toLowerCase();
		const state = form.state.value;
		const some = rows.filter((row) =>
			(state === "" || row.state === state) &&
			(q === "" || row.path.toLowerCase().includes(q)));
		const part = document.createDocumentFragment();
		for (const row of sorted(some).slice(0, most))
			part.append(row.tr);
		table.tBodies[0].replaceChildren(part);
		none.hidden = some.length > 0;
		more.hidden = some.length <= most;
		more.textContent = `Show all ${some.length.toLocaleString()}`;
		shown.textContent = `${Math.min(some.length, most)
			.toLocaleString()} of ` +
			`${rows.length.toLocaleString()} shown`;
	}

	function sort_by(i) {
		// Texts upwards first, numbers downwards: the largest matter.
		const first = heads[i].classList.contains("n");
		down = column === i ? !down : first;
		column = i;
		for (const [k, th] of heads.entries())
			th.ariaSort = k !== i ? null
				: down ? "descending" : "ascending";
		show();
	}

	for (const [i, th] of heads.entries()) {
		const button = document.createElement("button");
		button.type = "button";
		button.textContent = th.textContent;
		button.addEventListener("click", () => sort_by(i));
		th.replaceChildren(button);
	}

	// A large fleet is asked more seldom: a hundredth of the time at most.
	let pause = 5000;
	let timer = 0;
	async function refresh() {
		const began = performance.now();
		try {
			const answer = await fetch(location.pathname, { cache: "no-store" });
			const page = new DOMParser().parseFromString(
				await answer.text(), "text/html");
			for (const id of ["facts", "summary"])
				document.getElementById(id).replaceWith(
					page.getElementById(id));
			read(page.querySelector("tbody"));
			show();
			document.body.classList.remove("away");
		} catch {
			shown.textContent = "the daemon does not answer";
		}
		pause = Math.max(5000, 100 * (performance.now() - began));
		plan();
	}
	function plan() {
		clearTimeout(timer);
		if (box.checked)
			timer = setTimeout(() => document.hidden ? plan()
				: refresh(), pause);
	}

	const shown = document.createElement("span");
	const more = document.createElement("button");
	more.type = "button";
	more.id = "more";
	more.addEventListener("click", () => {
		most = Infinity;
		show();
	});
	table.after(more);
	const box = document.createElement("input");
	const label = document.createElement("label");
	box.type = "checkbox";
	box.checked = true;
	box.addEventListener("change", plan);
	label.append(box, "refresh");
	live.append(shown, label);
	form.querySelector("button").hidden = true;
	form.addEventListener("submit", (e) => e.preventDefault());
	form.q.addEventListener("input", show);
	form.state.addEventListener("change", show);
	form.addEventListener("input", () => most = MOST, true);

	read(table.tBodies[0]);
	if (location.search !== "") // it came filtered: get the others too
		refresh();
	else
		show();
	plan();
})();
