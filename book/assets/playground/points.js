// The playground of the points: controls, a run that shows each step, and what is said of its samples.
(function (lab) {
  "use strict";

  const percent = (value) => `${Math.round(100 * value)} %`;
  const list = (values) => `${values.slice(0, -1).join(", ")} and ${values.at(-1)}`;

  function start(root) {
    const find = (name) => root.querySelector(`[data-part="${name}"]`);
    const form = find("controls"), canvas = find("canvas"), status = find("status"), moment = find("moment");
    const again = find("again");
    let network = null, frames = [], seed = 1, timer = 0;

    const value = (name) => form.elements[name].value;
    const say = (text) => { status.textContent = text; };
    const task = lab.task(find("run"), say);

    function label() {
      lab.tell(form.elements.steps, `${value("steps")} steps`);
      lab.tell(form.elements.count, `${value("count")} samples`);
      const eta = Number(value("eta"));
      lab.tell(form.elements.eta, `${eta}${eta === 0 ? ", none" : eta === 1 ? ", as DDPM" : ""}`);
      form.elements.eta.disabled = value("sampler") !== "ddim";
    }

    // Coordinates 1 and 2 of points with more than two, so that they can be drawn.
    function shown(points) {
      const dim = network.record.shape[0];
      if (dim <= 2) { return points; }
      return Float64Array.from({ length: 2 * points.length / dim }, (_, i) => points[(i >> 1) * dim + (i & 1)]);
    }
    function draw() {
      if (!frames.length) { return; }
      const { truth, shape } = network.record, frame = frames[Number(moment.value)], level = frame.level;
      const parts = shape[0] > 2 ? lab.marginal(truth, 0, 1) : truth;
      if (shape[0] === 1) {
        lab.line(canvas, parts, level, frame.x);
      } else {
        lab.plane(canvas, parts, level, [[shown(frame.x), "samples"]]);
      }
      const ratio = (level.sigma / level.alpha).toPrecision(2);
      const place = level.sigma === 0 ? "data" : `noise level σ/α = ${ratio}`;
      lab.tell(moment, `step ${moment.value} of ${moment.max}, ${place}`);
      const label = `Samples of the network and the exact density, ${network.record.title}, ${place}.`;
      canvas.setAttribute("aria-label", label);
    }

    async function work(alive) {
      say("Loading the network …");
      const loaded = await lab.load(value("network"), root.dataset.folder);
      if (!alive()) { return; }
      say("Sampling …");
      await lab.soon();
      const { schedule, record } = loaded, count = Number(value("count"));
      const random = lab.random(seed), first = random.normals(count * record.shape[0]);
      const times = schedule.times(Number(value("steps")), value("spacing")), { sigma } = schedule.at(times[0]);
      const step = lab.steps[value("sampler")](Number(value("eta"))), x = first.map((one) => sigma * one);
      network = loaded;
      frames = [];
      moment.max = times.length - 1;
      find("result").hidden = false;
      for (const frame of lab.sample(lab.denoiser(network), schedule, step, x, times, random.normals)) {
        frames.push(frame);
        moment.value = frames.length - 1;
        if (!lab.quiet() || frames.length === times.length) { draw(); }
        await lab.soon();
        if (!alive()) { return; }
      }
      say(report(network, frames.at(-1), count, seed));
    }
    const run = () => task.run(work);

    task.button.addEventListener("click", function () {
      if (!task.busy()) { return run(); }
      task.stop();
      say(`Stopped after ${Math.max(frames.length - 1, 0)} steps.`);
    });
    again.addEventListener("click", function () {
      seed += 1;
      run();
    });
    // Once a network runs, it follows the controls; the noise it starts from stays the same.
    form.addEventListener("input", function () {
      label();
      clearTimeout(timer);
      if (network) { timer = setTimeout(run, 250); }
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    moment.addEventListener("input", function () {
      task.stop();
      draw();
    });
    lab.onChangedLook(draw);
    label();
  }

  // What the samples are worth: their distance to exact points beside the one that exact points have among themselves.
  function report(network, { x, evaluations }, count, seed) {
    const { truth, shape: [dim] } = network.record, random = lab.random(seed + 1e6);
    if (!x.every(Number.isFinite)) { return "The samples are not finite: these settings broke the sampler."; }
    const directions = dim === 1 ? [[1]] : lab.directions(64, dim, random);
    const exact = Array.from({ length: 6 }, () => lab.draw(truth, count, random));
    const mean = (values) => values.reduce((sum, one) => sum + one, 0) / values.length;
    const own = mean(exact.map((points) => lab.sliced(x, points, dim, directions)));
    const floor = mean(exact.slice(1).map((points, i) => lab.sliced(exact[i], points, dim, directions)));
    const cost = `${evaluations} ${evaluations === 1 ? "evaluation" : "evaluations"} of the network for each`;
    const name = dim === 1 ? "Wasserstein" : "sliced Wasserstein";
    return `${count} samples, ${cost}. ${details(network, x)} `
      + `Their ${name} distance to exact points is ${own.toPrecision(2)}; `
      + `as many exact points are ${floor.toPrecision(2)} from one another, which is the floor.`;
  }

  function details(network, x) {
    const { truth, shape: [dim] } = network.record, [part] = truth;
    if (dim === 1) {
      const [mean, std] = lab.moments(x);
      return `Mean ${mean.toFixed(2)} (exact ${part.mean[0].toFixed(2)}), standard deviation ${std.toFixed(2)} `
        + `(exact ${Math.sqrt(part.variances[0]).toFixed(2)}).`;
    }
    if (truth.length === 1) {
      const ratios = part.axes.map(function (axis, k) {
        return lab.moments(lab.project(x, dim, axis))[1] / Math.sqrt(part.variances[k]);
      });
      return `Along the ${dim === 2 ? "two" : dim} axes of the normal the standard deviation is `
        + `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)} times the exact one.`;
    }
    if (truth.length > 20) { return ""; }
    const clean = { alpha: 1, sigma: 0 }, shares = truth.map(() => 0);
    const ways = truth.map((one) => lab.density([one], clean));
    for (let i = 0; i < x.length; i += dim) {
      const values = ways.map((density) => density(x.subarray(i, i + dim)));
      shares[values.indexOf(Math.max(...values))] += dim / x.length;
    }
    const exact = truth.map((one) => percent(one.weight));
    return `Shares of the modes: ${list(shares.map(percent))} (exact ${list(exact)}).`;
  }

  Object.assign(lab, { report });
  document.querySelectorAll("[data-lab=points]").forEach(start);
})(window.lab = window.lab || {});
