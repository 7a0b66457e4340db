// What the two playgrounds of digits share: images on a canvas, a field to draw in, the denoiser of chapter 5.
(function (lab) {
  "use strict";

  const SIDE = 28, PIXELS = SIDE ** 2;

  // An image with values in [-1, 1] on a canvas of its own size; the style makes it larger.
  function paint(canvas, image) {
    const pen = canvas.getContext("2d"), picture = pen.createImageData(SIDE, SIDE);
    image.forEach(function (value, i) {
      const grey = 127.5 * (Math.min(Math.max(value, -1), 1) + 1);
      picture.data.set([grey, grey, grey, 255], 4 * i);
    });
    pen.putImageData(picture, 0, 0);
  }

  // The denoiser as chapter 5 samples with it: guided towards a label where there is one, and clipped.
  function denoiser(network, label, scale) {
    const untold = lab.denoiser(network);
    if (label === undefined) { return lab.clipped(untold); }
    const told = lab.denoiser(network, label);
    return lab.clipped(scale === 1 ? told : lab.guided(told, untold, scale));
  }

  // A field to draw in, with a pointer or with the keys. Returns the image that is in it.
  function field(canvas, changed) {
    const image = new Float64Array(PIXELS).fill(-1);
    let pen = [SIDE / 2, SIDE / 2], last = null;

    function dot(x, y) {
      for (let i = 0; i < PIXELS; i++) {
        const far = Math.hypot(i % SIDE + 0.5 - x, Math.floor(i / SIDE) + 0.5 - y);
        image[i] = Math.max(image[i], Math.min(1, 2 * (1.9 - far)), -1);
      }
    }
    function show() {
      paint(canvas, image);
      if (document.activeElement === canvas) {  // where the keys would draw
        const context = canvas.getContext("2d");
        context.fillStyle = "#ff9a4d";
        context.fillRect(Math.floor(pen[0]), Math.floor(pen[1]), 1, 1);
      }
    }
    function stroke(to) {
      const from = last || to, pieces = Math.ceil(2 * Math.hypot(to[0] - from[0], to[1] - from[1])) || 1;
      for (let i = 0; i <= pieces; i++) {
        dot(from[0] + (to[0] - from[0]) * i / pieces, from[1] + (to[1] - from[1]) * i / pieces);
      }
      last = pen = to;
      show();
      changed();
    }
    function place(event) {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width * SIDE, (event.clientY - box.top) / box.height * SIDE];
    }

    canvas.addEventListener("pointerdown", function (event) {
      canvas.setPointerCapture(event.pointerId);
      last = null;
      stroke(place(event));
    });
    canvas.addEventListener("pointermove", function (event) {
      if (event.buttons && last) { stroke(place(event)); }
    });
    canvas.addEventListener("pointerup", () => { last = null; });
    // The arrow keys move the pen; with Shift it draws.
    canvas.addEventListener("keydown", function (event) {
      const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!move) { return; }
      event.preventDefault();
      const to = pen.map((value, i) => Math.min(Math.max(value + move[i], 1), SIDE - 1));
      last = event.shiftKey ? pen : null;
      if (event.shiftKey) { stroke(to); } else { pen = to; }
      show();
    });
    canvas.addEventListener("focus", show);
    canvas.addEventListener("blur", show);
    function put(values) {
      image.set(values);
      show();
      changed();
    }
    show();
    return { image, put };
  }

  // The network of the digits, loaded on the first click.
  async function load(root, say) {
    say("Loading the network …");
    const network = await lab.load("mnist", root.dataset.folder);
    say("The network is at work …");
    await lab.soon();
    return network;
  }

  // A walk from pure noise. What it costs is counted by the caller: with guidance the network is asked twice.
  function walk(network, denoise, times, random) {
    const { sigma } = network.schedule.at(times[0]), x = random.normals(PIXELS).map((one) => sigma * one);
    return lab.sample(denoise, network.schedule, lab.steps.ddim(0), x, times, null);
  }

  lab.digits = { PIXELS, denoiser, field, load, paint, walk };
})(window.lab = window.lab || {});
