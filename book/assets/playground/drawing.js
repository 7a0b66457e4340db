// Points over their exact density, on a canvas. The colours are those of the book's figures, from the page's style.
(function (lab) {
  "use strict";

  const CELLS = 90;  // of the shading, along each side

  // The canvas at the screen's own resolution, cleared; with it, the colours and the room inside the axes.
  function begin(canvas) {
    const ratio = window.devicePixelRatio || 1, { width, height } = canvas.getBoundingClientRect();
    if (canvas.width !== Math.round(width * ratio)) { canvas.width = Math.round(width * ratio); }
    if (canvas.height !== Math.round(height * ratio)) { canvas.height = Math.round(height * ratio); }
    const pen = canvas.getContext("2d"), style = getComputedStyle(canvas);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = `13px ${style.fontFamily}`;
    const colour = (name) => style.getPropertyValue(`--lab-${name}`).trim();
    return { pen, colour, box: { left: 42, top: 8, width: width - 52, height: height - 34 } };
  }

  // Round numbers that lie in the range, about five of them.
  function ticks(low, high) {
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power, found = [];
    for (let k = Math.ceil(low / step); k * step <= high; k++) { found.push(Number((k * step).toPrecision(6))); }
    return found;
  }

  const plain = (value) => String(value).replace("-", "−");

  function axes({ pen, colour, box }, x, y) {
    pen.strokeStyle = colour("faint");
    pen.strokeRect(box.left, box.top, box.width, box.height);
    pen.fillStyle = colour("ink");
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const value of ticks(x.low, x.high)) { pen.fillText(plain(value), x.place(value), box.top + box.height + 6); }
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    const name = y.name || plain;
    for (const value of ticks(y.low, y.high)) { pen.fillText(name(value), box.left - 6, y.place(value)); }
  }

  const across = (box, low, high) => ({
    low, high, place: (value) => box.left + (value - low) / (high - low) * box.width,
  });
  const upwards = (box, low, high) => ({
    low, high, place: (value) => box.top + (high - value) / (high - low) * box.height,
  });

  // The part of space in which data at this level lie: it shrinks onto the data as the noise goes.
  function view(parts, level) {
    const dim = parts[0].mean.length, low = Array(dim).fill(Infinity), high = Array(dim).fill(-Infinity);
    for (const { mean, axes: rows, variances } of parts) {
      for (let i = 0; i < dim; i++) {
        const std = Math.sqrt(variances.reduce((sum, variance, k) => sum + variance * rows[k][i] ** 2, 0));
        low[i] = Math.min(low[i], mean[i] - 3.2 * std);
        high[i] = Math.max(high[i], mean[i] + 3.2 * std);
      }
    }
    const half = Math.max(...high.map((value, i) => (value - low[i]) / 2)) * level.alpha + 3 * level.sigma;
    return low.map((value, i) => {
      const centre = level.alpha * (value + high[i]) / 2;
      return [centre - half, centre + half];
    });
  }

  // Points of one number: a histogram under the exact curve.
  function line(canvas, parts, level, points) {
    const drawing = begin(canvas), { pen, colour, box } = drawing, [[low, high]] = view(parts, level);
    const bars = 40, counts = Array(bars).fill(0), width = (high - low) / bars;
    for (const value of points) {
      const bar = Math.floor((value - low) / width);
      if (bar >= 0 && bar < bars) { counts[bar] += 1 / points.length / width; }
    }
    const exact = lab.density(parts, level), grid = Array.from({ length: 201 }, (_, i) => low + (high - low) * i / 200);
    const curve = grid.map((value) => exact([value]));
    const x = across(box, low, high), y = upwards(box, 0, 1.1 * Math.max(...counts, ...curve));
    pen.fillStyle = colour("samples");
    counts.forEach(function (count, bar) {
      pen.fillRect(x.place(low + bar * width), y.place(count), box.width / bars - 1, y.place(0) - y.place(count));
    });
    pen.strokeStyle = colour("data");
    pen.lineWidth = 3;
    pen.beginPath();
    curve.forEach((value, i) => pen.lineTo(x.place(grid[i]), y.place(value)));
    pen.stroke();
    pen.lineWidth = 1;
    axes(drawing, x, y);
  }

  // Points of two numbers over the shaded exact density. `clouds` is [[points, colour name], ...].
  function plane(canvas, parts, level, clouds) {
    const drawing = begin(canvas), { pen, colour, box } = drawing, [[left, right], [bottom, top]] = view(parts, level);
    const x = across(box, left, right), y = upwards(box, bottom, top);
    pen.imageSmoothingEnabled = true;
    const picture = shading(parts, level, [left, right], [bottom, top], colour("shade"));
    pen.drawImage(picture, box.left, box.top, box.width, box.height);
    pen.save();
    pen.beginPath();
    pen.rect(box.left, box.top, box.width, box.height);
    pen.clip();
    for (const [points, name] of clouds) {
      pen.fillStyle = colour(name);
      for (let i = 0; i < points.length; i += 2) {
        pen.beginPath();
        pen.arc(x.place(points[i]), y.place(points[i + 1]), 1.8, 0, 2 * Math.PI);
        pen.fill();
      }
    }
    pen.restore();
    axes(drawing, x, y);
  }

  // Curves of positive numbers over `xs`, on a logarithmic scale, and a short name along each axis. `lines` is
  // [[values, colour name, dashes], ...].
  function curves(canvas, xs, lines, [below, beside]) {
    const drawing = begin(canvas), { pen, colour, box } = drawing, all = lines.flatMap(([values]) => values);
    box.height -= 20;
    box.left += 18;
    box.width -= 18;
    const low = Math.floor(Math.log10(Math.min(...all))), high = Math.ceil(Math.log10(Math.max(...all)));
    const x = across(box, xs[0], xs.at(-1)), y = upwards(box, low, high);
    for (const [values, name, dashes] of lines) {
      pen.strokeStyle = colour(name);
      pen.lineWidth = 3;
      pen.setLineDash(dashes);
      pen.beginPath();
      values.forEach((value, i) => pen.lineTo(x.place(xs[i]), y.place(Math.log10(value))));
      pen.stroke();
    }
    pen.setLineDash([]);
    pen.lineWidth = 1;
    axes(drawing, x, { ...y, name: (value) => (Number.isInteger(value) ? String(10 ** value) : "") });
    pen.textAlign = "center";
    pen.fillText(below, box.left + box.width / 2, box.top + box.height + 36);
    pen.translate(10, box.top + box.height / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(beside, 0, 0);
  }

  // A small picture of the density: one colour, the more opaque the denser.
  function shading(parts, level, [left, right], [bottom, top], colour) {
    const picture = document.createElement("canvas");
    picture.width = picture.height = CELLS;
    const pen = picture.getContext("2d"), image = pen.createImageData(CELLS, CELLS), exact = lab.density(parts, level);
    const values = Float64Array.from({ length: CELLS * CELLS }, function (_, i) {
      const column = i % CELLS + 0.5, row = Math.floor(i / CELLS) + 0.5;
      return exact([left + (right - left) * column / CELLS, top - (top - bottom) * row / CELLS]);
    });
    const most = values.reduce((a, b) => Math.max(a, b)), rgb = colour.split(",").map(Number);
    values.forEach((value, i) => image.data.set([...rgb, 200 * Math.sqrt(value / most)], 4 * i));
    pen.putImageData(image, 0, 0);
    return picture;
  }

  Object.assign(lab, { curves, line, plane });
})(window.lab = window.lab || {});
