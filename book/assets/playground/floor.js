// The loss floor: what a network gets wrong at each noise level, beside what the exact denoiser gets wrong there.
(function (lab) {
  "use strict";

  const LEVELS = 17, COUNT = 400;

  // Mean squared errors of x0, of the network and of the exact denoiser, on the same noisy points; a step at a time.
  function* errors(network, random) {
    const { schedule, record: { truth, shape: [dim] } } = network, denoise = lab.denoiser(network);
    const [noisiest, cleanest] = schedule.range.map((value) => Math.min(Math.max(value, -12), 12));
    for (let i = 0; i < LEVELS; i++) {
      const logSnr = noisiest + (cleanest - noisiest) * i / (LEVELS - 1), level = schedule.at(schedule.timeAt(logSnr));
      const x0 = lab.draw(truth, COUNT, random), eps = random.normals(x0.length);
      const x = lab.mix([level.alpha, x0], [level.sigma, eps]);
      const exact = lab.posterior(truth, level), best = new Float64Array(x.length);
      for (let n = 0; n < x.length; n += dim) { best.set(exact(x.subarray(n, n + dim)), n); }
      const error = (answer) => answer.reduce((sum, value, k) => sum + (value - x0[k]) ** 2, 0) / x0.length;
      yield { logSnr, network: error(denoise(x, level).x0), exact: error(best) };
    }
  }

  function start(root) {
    const find = (name) => root.querySelector(`[data-part="${name}"]`);
    const form = find("controls"), canvas = find("canvas"), status = find("status");
    const say = (text) => { status.textContent = text; }, task = lab.task(find("run"), say);
    let rows = [];

    function draw() {
      if (rows.length < LEVELS) { return; }
      const column = (name) => rows.map((row) => row[name]);
      lab.curves(canvas, column("logSnr"), [[column("network"), "samples", []], [column("exact"), "data", [7, 5]]],
        ["log-SNR, from noise to data", "mean squared error of x0"]);
    }

    async function work(alive) {
      say("Loading the network …");
      const network = await lab.load(form.elements.network.value, root.dataset.folder), found = [];
      for (const row of errors(network, lab.random(1))) {
        if (!alive()) { return; }
        found.push(row);
        say(`Measuring, level ${found.length} of ${LEVELS} …`);
        await lab.soon();
      }
      rows = found;
      find("result").hidden = false;
      draw();
      const excess = rows.map((row) => row.network / row.exact - 1), most = Math.max(...excess);
      const percent = (value) => `${(100 * Math.max(value, 0.001)).toPrecision(2)} %`;
      const [noisy, clean] = [rows[0], rows.at(-1)].map((row) => row.exact.toPrecision(2));
      const middle = [...excess].sort((a, b) => a - b)[LEVELS >> 1];
      const text = `Even the exact denoiser has an error of ${noisy} in the strongest noise and of ${clean} in the `
        + `weakest. At half of the levels the network is at most ${percent(middle)} above it. It is furthest above it, `
        + `by ${percent(most)}, at log-SNR ${rows[excess.indexOf(most)].logSnr.toFixed(1).replace("-", "−")}.`;
      canvas.setAttribute("aria-label", `Error of the network and its floor against log-SNR. ${text}`);
      say(text);
    }

    task.button.addEventListener("click", function () {
      if (!task.busy()) { return task.run(work); }
      task.stop();
      say("Stopped.");
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    lab.onChangedLook(draw);
  }

  Object.assign(lab, { errors });
  document.querySelectorAll("[data-lab=floor]").forEach(start);
})(window.lab = window.lab || {});
