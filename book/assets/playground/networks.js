// The networks that ship with the course, in plain typed arrays. What stands in diffusion_lab/networks/mlp.py and
// embeddings.py; the U-Net is in unet.js. Samples lie one after the other in a Float64Array.
(function (lab) {
  "use strict";

  const silu = (value) => value / (1 + Math.exp(-value));

  // out[row, o] = bias[o] + sum over i of weight[o, i] x[row, i]. Four rows at a time, so that each weight is read once
  // for all four.
  function linear(x, weight, bias) {
    const outputs = bias.length, inputs = weight.length / outputs, rows = x.length / inputs;
    const out = new Float64Array(rows * outputs);
    let row = 0;
    for (; row + 3 < rows; row += 4) {
      const a = row * inputs, b = a + inputs, c = b + inputs, d = c + inputs;
      for (let o = 0, w = 0; o < outputs; o++) {
        let first = bias[o], second = first, third = first, fourth = first;
        for (let i = 0; i < inputs; i++, w++) {
          const value = weight[w];
          first += value * x[a + i];
          second += value * x[b + i];
          third += value * x[c + i];
          fourth += value * x[d + i];
        }
        const at = row * outputs + o;
        out[at] = first;
        out[at + outputs] = second;
        out[at + 2 * outputs] = third;
        out[at + 3 * outputs] = fourth;
      }
    }
    for (; row < rows; row++) {
      for (let o = 0, w = 0; o < outputs; o++) {
        let sum = bias[o];
        for (let i = row * inputs; i < (row + 1) * inputs; i++, w++) { sum += weight[w] * x[i]; }
        out[row * outputs + o] = sum;
      }
    }
    return out;
  }

  // A half-precision number: one bit of sign, five of exponent, ten of mantissa.
  function fromHalf(bits) {
    const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, mantissa = bits & 1023;
    return sign * (exponent ? (1 + mantissa / 1024) * 2 ** (exponent - 15) : mantissa * 2 ** -24);
  }

  // The weights by name, out of one text in base64.
  function unpack(record) {
    const bytes = Uint8Array.from(atob(record.weights), (character) => character.charCodeAt(0));
    const all = record.precision === "float16"
      ? Float32Array.from(new Uint16Array(bytes.buffer), fromHalf) : new Float32Array(bytes.buffer);
    const weights = {};
    let start = 0;
    for (const [name, shape] of Object.entries(record.layers)) {
      const size = shape.reduce((product, length) => product * length, 1);
      weights[name] = all.subarray(start, start += size);
    }
    return weights;
  }

  // The time, and the class where there is one, as one vector.
  function embed(record, weights, time, label) {
    const half = record.frequencies / 2, waves = new Float64Array(2 * half);
    for (let i = 0; i < half; i++) {
      const angle = record.time_scale * time * Math.exp(-Math.log(10000) * i / (half - 1));
      waves[i] = Math.sin(angle);
      waves[half + i] = Math.cos(angle);
    }
    const part = (name) => weights[`embedding.${name}`];
    const layer = (x, name) => linear(x, part(`time.${name}.weight`), part(`time.${name}.bias`));
    const vector = layer(layer(waves, 0).map(silu), 2), table = part("label.weight");
    if (table) {
      // The last row of the table stands for "no label".
      const row = label === undefined || label === null ? table.length / vector.length - 1 : label;
      for (let i = 0; i < vector.length; i++) { vector[i] += table[row * vector.length + i]; }
    }
    return vector.map(silu);
  }

  // A residual perceptron: each block adds gate(time) * silu(linear(h)).
  function mlp(record, weights) {
    const depth = Object.keys(weights).filter((name) => /^blocks\.\d+\.linear\.bias$/.test(name)).length;
    const layer = (x, name) => linear(x, weights[`${name}.weight`], weights[`${name}.bias`]);
    return function (x, time) {
      const conditioning = embed(record, weights, time), h = layer(x, "stem");
      for (let block = 0; block < depth; block++) {
        const gate = layer(conditioning, `blocks.${block}.gate`), added = layer(h, `blocks.${block}.linear`);
        for (let i = 0; i < h.length; i++) { h[i] += silu(added[i]) * gate[i % gate.length]; }
      }
      return layer(h.map(silu), "head");
    };
  }

  const KINDS = { MLP: mlp };

  // A network from its record: evaluate(x, time, label) -> the raw output, shaped like x.
  function network(record) {
    return { record, schedule: lab.schedule(record.schedule), evaluate: KINDS[record.kind](record, unpack(record)) };
  }

  // The file of a network is a script that calls lab.arrived(record): scripts load from the file system, and fetch does
  // not. It is asked for once, and kept.
  const asked = {}, waiting = {};
  function load(name, folder) {
    asked[name] = asked[name] || new Promise(function (done, failed) {
      const script = document.createElement("script");
      waiting[name] = done;
      script.src = `${folder}/${name}.js`;
      script.onerror = function () {
        delete asked[name];
        failed(new Error(`${script.src} does not load`));
      };
      document.head.append(script);
    });
    return asked[name];
  }
  function arrived(record) {
    waiting[record.name](network(record));
  }

  Object.assign(lab, { KINDS, arrived, embed, linear, load, network, silu });
})(window.lab = window.lab || {});
