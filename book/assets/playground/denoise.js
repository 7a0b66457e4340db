// Draw a digit, add noise, and see the network take it away.
(function (lab) {
  "use strict";

  const { PIXELS, denoiser, field, load, paint, walk } = lab.digits;
  const BLANK = new Float64Array(PIXELS).fill(-1), STEPS = 20;
  const distance = (a, b) => Math.sqrt(a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0) / a.length);

  function start(root) {
    const find = (name) => root.querySelector(`[data-part="${name}"]`);
    const form = find("controls"), status = find("status"), say = (text) => { status.textContent = text; };
    const take = lab.task(find("take"), say), invent = lab.task(find("invent"), say);
    const drawing = field(find("drawing"), changed);
    let seed = 1;

    // The slider is minus log-SNR, so that noise grows to the right. On the digits' path alpha^2 + sigma^2 is 1.
    function level() {
      const alpha = Math.sqrt(1 / (1 + Math.exp(form.elements.noise.value)));
      return { alpha, sigma: Math.sqrt(1 - alpha ** 2) };
    }
    function noisy() {
      const { alpha, sigma } = level(), normals = lab.random(seed).normals(PIXELS);
      return drawing.image.map((pixel, i) => alpha * pixel + sigma * normals[i]);
    }
    // Old answers do not stand beside a new question.
    function changed() {
      const { alpha, sigma } = level();
      take.stop();
      lab.tell(form.elements.noise, `σ/α = ${(sigma / alpha).toPrecision(2)}`);
      paint(find("noisy"), noisy());
      for (const part of ["guess", "walked"]) { paint(find(part), BLANK); }
    }

    // One answer is the mean of all digits that fit; a walk ends at one of them.
    async function takeAway(alive) {
      const network = await load(root, say), { schedule } = network;
      if (!alive()) { return; }
      const told = form.elements.told.value, label = told === "" ? undefined : Number(told);
      const time = schedule.timeAt(-form.elements.noise.value), question = noisy();
      const denoise = denoiser(network, label, 1), guess = denoise(question, schedule.at(time)).x0;
      const times = [time, ...schedule.times(STEPS).filter((one) => one < time)];
      paint(find("guess"), guess);
      let x = question;
      for (const frame of lab.sample(denoise, schedule, lab.steps.ddim(0), question, times, null)) {
        x = frame.x;
        if (!lab.quiet() || frame.level.sigma === 0) { paint(find("walked"), x); }
        await lab.soon();
        if (!alive()) { return; }
      }
      const { alpha } = level(), far = (image) => distance(image, drawing.image).toFixed(2);
      const before = far(question.map((one) => one / alpha));
      say(`How far a pixel is from your drawing, as a root mean square: ${before} with noise, `
        + `${far(guess)} after one answer, ${far(x)} after a walk of ${times.length - 1} steps.`);
    }

    async function inventOne(alive) {
      const network = await load(root, say), random = lab.random(seed += 1);
      const denoise = denoiser(network, undefined, 1);
      for (const { x } of walk(network, denoise, network.schedule.times(STEPS), random)) {
        if (!alive()) { return; }
        drawing.put(x.map((value) => Math.min(Math.max(value, -1), 1)));
        await lab.soon();
      }
      say("The network has drawn this digit from noise. Add noise, and have it taken away.");
    }

    function onClick(job, work) {
      job.button.addEventListener("click", function () {
        if (!job.busy()) { return job.run(work); }
        job.stop();
        say("Stopped.");
      });
    }
    onClick(take, takeAway);
    onClick(invent, inventOne);
    find("clear").addEventListener("click", function () {
      invent.stop();
      drawing.put(BLANK);
    });
    find("again").addEventListener("click", function () {
      seed += 1;
      changed();
    });
    form.addEventListener("input", changed);
    form.addEventListener("submit", (event) => event.preventDefault());
    changed();
  }

  document.querySelectorAll("[data-lab=denoise]").forEach(start);
})(window.lab = window.lab || {});
