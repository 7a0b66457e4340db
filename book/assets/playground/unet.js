// The U-Net of the digits. What stands in diffusion_lab/networks/unet.py and blocks.py, for one image at a time.
// An image is a row of places, each with its channels next to each other: h[place * channels + channel].
(function (lab) {
  "use strict";

  const HEAD_SIZE = 32;

  // The neighbourhoods of all places in a row, so that a convolution is one `linear`: channel by channel, as the
  // weights lie. Outside of the image are zeros.
  function patches(h, side, kernel, stride, padding) {
    const channels = h.length / side ** 2, out = (side + 2 * padding - kernel) / stride + 1, size = kernel ** 2;
    const rows = new Float64Array(out ** 2 * channels * size);
    for (let place = 0; place < out ** 2; place++) {
      const top = Math.floor(place / out) * stride - padding, left = place % out * stride - padding;
      for (let k = 0; k < size; k++) {
        const y = top + Math.floor(k / kernel), x = left + k % kernel;
        if (y < 0 || x < 0 || y >= side || x >= side) { continue; }
        const from = (y * side + x) * channels, to = place * channels * size + k;
        for (let c = 0; c < channels; c++) { rows[to + c * size] = h[from + c]; }
      }
    }
    return rows;
  }

  // Group normalisation with groups of 16 channels, as group_norm makes them for multiples of 16.
  function normalise(h, scale, shift) {
    const channels = scale.length, out = new Float64Array(h.length);
    for (let start = 0; start < channels; start += 16) {
      let sum = 0, squares = 0;
      const each = function (act) {
        for (let at = start; at < h.length; at += channels) { for (let c = 0; c < 16; c++) { act(at + c, start + c); } }
      };
      each((i) => { sum += h[i]; });
      const count = 16 * h.length / channels, mean = sum / count;
      each((i) => { squares += (h[i] - mean) ** 2; });
      const std = Math.sqrt(squares / count + 1e-5);
      each((i, channel) => { out[i] = (h[i] - mean) / std * scale[channel] + shift[channel]; });
    }
    return out;
  }

  // Channels of two images side by side.
  function join(a, b, places) {
    const p = a.length / places, q = b.length / places, out = new Float64Array(a.length + b.length);
    for (let place = 0; place < places; place++) {
      out.set(a.subarray(place * p, (place + 1) * p), place * (p + q));
      out.set(b.subarray(place * q, (place + 1) * q), place * (p + q) + p);
    }
    return out;
  }

  // Every place takes a weighted mean of all places, for each head of 32 numbers apart.
  function attend(qkv, width) {
    const places = qkv.length / (3 * width), out = new Float64Array(places * width);
    for (let head = 0; head < width; head += HEAD_SIZE) {
      for (let query = 0; query < places; query++) {
        const weights = new Float64Array(places);
        for (let key = 0; key < places; key++) {
          for (let i = head; i < head + HEAD_SIZE; i++) {
            weights[key] += qkv[query * 3 * width + i] * qkv[key * 3 * width + width + i] / Math.sqrt(HEAD_SIZE);
          }
        }
        const most = Math.max(...weights), shares = weights.map((value) => Math.exp(value - most));
        const total = shares.reduce((sum, share) => sum + share, 0);
        for (let key = 0; key < places; key++) {
          for (let i = head; i < head + HEAD_SIZE; i++) {
            out[query * width + i] += shares[key] / total * qkv[key * 3 * width + 2 * width + i];
          }
        }
      }
    }
    return out;
  }

  function unet(record, weights) {
    const [, side] = record.shape, { patch } = record, { silu } = lab;
    const levels = Object.keys(weights).filter((name) => /^trunk\.down\.\d+\.0\.conv1\.bias$/.test(name)).length;
    const w = (name) => weights[`trunk.${name}.weight`], b = (name) => weights[`trunk.${name}.bias`];
    const norm = (h, name) => normalise(h, w(name), b(name));
    const layer = (h, name) => lab.linear(h, w(name), b(name));
    const convolve = (h, name, width) => lab.linear(patches(h, width, 3, 1, 1), w(name), b(name));

    // A residual block; the time scales and shifts every channel between its convolutions.
    function block(h, name, width, conditioning) {
      const film = layer(conditioning, `${name}.film`), half = film.length / 2;
      const inner = convolve(norm(h, `${name}.norm1`).map(silu), `${name}.conv1`, width);
      const turned = norm(inner, `${name}.norm2`)
        .map((value, i) => silu(value * (1 + film[i % half]) + film[half + i % half]));
      const added = convolve(turned, `${name}.conv2`, width);
      const around = w(`${name}.skip`) ? layer(h, `${name}.skip`) : h;
      return added.map((value, i) => value + around[i]);
    }
    function blocks(h, name, width, conditioning) {
      for (let i = 0; w(`${name}.${i}.conv1`); i++) { h = block(h, `${name}.${i}`, width, conditioning); }
      return h;
    }

    // A transposed convolution of stride 2: every place becomes a square of four.
    function grow(h, name, width) {
      const bias = b(name), outputs = bias.length, weight = w(name), inputs = weight.length / outputs / 4;
      const out = new Float64Array(4 * width ** 2 * outputs);
      for (let place = 0; place < width ** 2; place++) {
        const y = 2 * Math.floor(place / width), x = 2 * (place % width);
        for (let k = 0; k < 4; k++) {
          const to = ((y + (k >> 1)) * 2 * width + x + (k & 1)) * outputs;
          for (let o = 0; o < outputs; o++) {
            let sum = bias[o];
            for (let i = 0; i < inputs; i++) { sum += h[place * inputs + i] * weight[(i * outputs + o) * 4 + k]; }
            out[to + o] = sum;
          }
        }
      }
      return out;
    }

    function trunk(image, conditioning) {
      let width = side / patch, h = convolve(image, "stem", width);
      const skips = [];
      for (let level = 0; level < levels; level++) {
        if (level) {
          h = lab.linear(patches(h, width, 2, 2, 0), w(`shrink.${level - 1}`), b(`shrink.${level - 1}`));
          width /= 2;
        }
        h = blocks(h, `down.${level}`, width, conditioning);
        skips.push(h);
      }
      const mixed = attend(layer(norm(h, "attention.norm"), "attention.qkv"), h.length / width ** 2);
      const looked = layer(mixed, "attention.out").map((value, i) => value + h[i]);
      h = block(looked, "middle", width, conditioning);
      for (let level = levels - 1; level >= 0; level--) {
        h = blocks(join(h, skips.pop(), width ** 2), `up.${level}`, width, conditioning);
        if (level) {
          h = grow(h, `grow.${level - 1}`, width);
          width *= 2;
        }
      }
      return convolve(norm(h, "norm").map(silu), "head", width);
    }

    // Pixels to places of patch x patch numbers, and back.
    const pixel = Int32Array.from({ length: side ** 2 }, function (_, i) {
      const size = patch ** 2, place = Math.floor(i / size), k = i % size, across = side / patch;
      return (Math.floor(place / across) * patch + Math.floor(k / patch)) * side + place % across * patch + k % patch;
    });
    return function (x, time, label) {
      const conditioning = lab.embed(record, weights, time, label), out = new Float64Array(x.length);
      for (let start = 0; start < x.length; start += side ** 2) {
        const image = Float64Array.from(pixel, (at) => x[start + at]);
        trunk(image, conditioning).forEach((value, i) => { out[start + pixel[i]] = value; });
      }
      return out;
    };
  }

  lab.KINDS.UNet2d = unet;
})(window.lab = window.lab || {});
