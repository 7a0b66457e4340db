// From noise to data, one step at a time. What stands in diffusion_lab/samplers.
(function (lab) {
  "use strict";

  // Uniform and normal numbers from a seed, the same in every browser: mulberry32, then Box and Muller.
  function random(seed) {
    let state = seed >>> 0;
    function uniform() {
      state = (state + 0x6d2b79f5) >>> 0;
      let z = Math.imul(state ^ (state >>> 15), state | 1);
      z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
      return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
    }
    function normals(count) {
      const out = new Float64Array(count);
      for (let i = 0; i < count; i += 2) {
        const radius = Math.sqrt(-2 * Math.log(1 - uniform())), angle = 2 * Math.PI * uniform();
        out[i] = radius * Math.cos(angle);
        if (i + 1 < count) { out[i + 1] = radius * Math.sin(angle); }
      }
      return out;
    }
    return { uniform, normals };
  }

  // Sum of factor * array over the given pairs.
  function mix(...pairs) {
    const out = new Float64Array(pairs[0][1].length);
    for (const [factor, values] of pairs) {
      for (let i = 0; i < out.length; i++) { out[i] += factor * values[i]; }
    }
    return out;
  }

  // DDIM: eta 0 draws no noise on the way, eta 1 is DDPM.
  function ddim(eta) {
    return function (x, now, after, { x0, eps }, context) {
      if (eta === 0) { return mix([after.alpha, x0], [after.sigma, eps]); }
      const added = Math.max(now.sigma ** 2 - (now.alpha / after.alpha * after.sigma) ** 2, 0);
      const variance = eta ** 2 * added * (after.sigma / now.sigma) ** 2;
      const direction = Math.sqrt(Math.max(after.sigma ** 2 - variance, 0));
      return mix([after.alpha, x0], [direction, eps], [Math.sqrt(variance), context.noise(x.length)]);
    };
  }

  // Heun: the mean of the slopes at both ends; at the clean end there is none, and the last step is Euler's.
  function heun() {
    const slope = (level, { x0, eps }) => mix([level.dalpha, x0], [level.dsigma, eps]);
    return function (x, now, after, prediction, context) {
      const width = after.t - now.t, here = slope(now, prediction), trial = mix([1, x], [width, here]);
      if (after.sigma === 0) { return trial; }
      return mix([1, x], [width / 2, here], [width / 2, slope(after, context.predict(trial, after))]);
    };
  }

  // DPM-Solver++(2M): second order from one evaluation a step and the one before it.
  function dpmpp() {
    return function (x, now, after, prediction, context) {
      let x0 = prediction.x0;
      if (after.sigma === 0) { return mix([after.alpha, x0]); }
      const h = (lab.logSnr(after) - lab.logSnr(now)) / 2;
      if (context.last) {
        const ratio = (lab.logSnr(now) - lab.logSnr(context.last.level)) / 2 / h;
        x0 = mix([1 + 1 / (2 * ratio), x0], [-1 / (2 * ratio), context.last.prediction.x0]);
      }
      return mix([after.sigma / now.sigma, x], [-after.alpha * Math.expm1(-h), x0]);
    };
  }

  const steps = { ddim, ddpm: () => ddim(1), heun, dpmpp_2m: dpmpp };

  // The walk through `times`, which decrease. Yields {x, level, evaluations} at the start and after each step; `noise`
  // is count -> as many normal numbers.
  function* sample(denoise, schedule, step, x, times, noise) {
    const context = { noise, evaluations: 0, last: null };
    context.predict = function (at, level) {
      context.evaluations += 1;
      return denoise(at, level);
    };
    let now = schedule.at(times[0]);
    yield { x, level: now, evaluations: 0 };
    for (const time of times.slice(1)) {
      const after = schedule.at(time), prediction = context.predict(x, now);
      x = step(x, now, after, prediction, context);
      context.last = { level: now, prediction };
      now = after;
      yield { x, level: now, evaluations: context.evaluations };
    }
  }

  Object.assign(lab, { mix, random, sample, steps });
})(window.lab = window.lab || {});
