// Ask for a digit, at a guidance scale of your own.
(function (lab) {
  "use strict";

  const { denoiser, load, paint, walk } = lab.digits;

  function start(root) {
    const find = (name) => root.querySelector(`[data-part="${name}"]`);
    const form = find("controls"), status = find("status"), say = (text) => { status.textContent = text; };
    const ask = lab.task(find("ask"), say), canvases = [...root.querySelectorAll("canvas")];
    let seed = 1;

    function tell() {
      const { wanted, scale, steps } = form.elements;
      lab.tell(scale, `w = ${Number(scale.value).toFixed(1)}`);
      lab.tell(steps, `${steps.value} steps`);
      scale.disabled = wanted.value === "";
    }

    // The walks take turns, so that all digits come at once and the page goes on answering.
    async function work(alive) {
      const network = await load(root, say);
      const { value: wanted } = form.elements.wanted, label = wanted === "" ? undefined : Number(wanted);
      const scale = Number(form.elements.scale.value), steps = Number(form.elements.steps.value);
      const times = network.schedule.times(steps), random = lab.random(seed), denoise = denoiser(network, label, scale);
      const walks = canvases.map(() => walk(network, denoise, times, random));
      const what = label === undefined ? "digits that nobody named" : `samples of the digit ${label}`;
      canvases.forEach((canvas, i) => canvas.setAttribute("aria-label", `${i + 1} of ${canvases.length} ${what}.`));
      find("result").hidden = false;
      for (let done = 0; done < times.length; done++) {
        for (const [i, one] of walks.entries()) {
          const { x } = one.next().value;
          if (!lab.quiet() || done === times.length - 1) { paint(canvases[i], x); }
          await lab.soon();
          if (!alive()) { return; }
        }
      }
      const calls = (times.length - 1) * (label === undefined || scale === 1 ? 1 : 2);
      say(`${canvases.length} ${what}${label === undefined ? "" : ` at guidance scale ${scale}`}, `
        + `with ${calls} ${calls === 1 ? "evaluation" : "evaluations"} of the network for each.`);
    }

    ask.button.addEventListener("click", function () {
      if (!ask.busy()) { return ask.run(work); }
      ask.stop();
      say("Stopped.");
    });
    find("again").addEventListener("click", function () {
      seed += 1;
      ask.run(work);
    });
    form.addEventListener("input", tell);
    form.addEventListener("submit", (event) => event.preventDefault());
    tell();
  }

  document.querySelectorAll("[data-lab=guidance]").forEach(start);
})(window.lab = window.lab || {});
