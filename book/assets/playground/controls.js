// What the playgrounds share: sliders that say where they stand, and work that can be stopped.
(function (lab) {
  "use strict";

  // What a slider says about itself, to the eye and to a screen reader.
  function tell(input, text) {
    input.setAttribute("aria-valuetext", text);
    input.parentElement.querySelector("output").textContent = text;
  }

  // Between two pieces of work the page answers to its reader.
  const soon = () => new Promise((done) => setTimeout(done, 0));
  const quiet = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

  // A button that starts work and, while that runs, stops it. New work takes the place of old.
  function task(button, say) {
    const idle = button.textContent;
    let current = 0;
    function stop() {
      current += 1;
      button.textContent = idle;
    }
    async function run(work) {
      const mine = current += 1, alive = () => mine === current;
      button.textContent = "Stop";
      try {
        await work(alive);
      } catch (error) {
        if (alive()) { say(`That did not work: ${error.message}.`); }
      }
      if (alive()) { stop(); }
    }
    return { button, run, stop, busy: () => button.textContent === "Stop" };
  }

  // What is drawn is drawn again in another size or another light.
  function onChangedLook(draw) {
    window.addEventListener("resize", draw);
    new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  Object.assign(lab, { onChangedLook, quiet, soon, task, tell });
})(window.lab = window.lab || {});
