// The path from data to noise, x = alpha x0 + sigma eps: schedules, where a sampler stops on them, targets.
// What stands in diffusion_lab/schedules.py, times.py and targets.py, for the networks that ship with the course.
(function (lab) {
  "use strict";

  // Each path gives alpha, sigma and their rates of change at a time t in [0, 1].
  const PATHS = {
    linear: function () {
      // The betas of DDPM, from 1e-4 to 0.02 in 1000 steps; alpha is linear between the steps.
      const count = 1000, alphas = [1];
      let alphaBar = 1;
      for (let i = 0; i < count; i++) {
        alphaBar *= 1 - (1e-4 + (0.02 - 1e-4) * i / (count - 1));
        alphas.push(Math.sqrt(alphaBar));
      }
      return function (t) {
        const left = Math.min(Math.floor(t * count), count - 1), weight = t * count - left;
        const alpha = (1 - weight) * alphas[left] + weight * alphas[left + 1];
        const sigma = Math.sqrt((1 - alpha) * (1 + alpha));
        const dalpha = (alphas[left + 1] - alphas[left]) * count;
        return { alpha, sigma, dalpha, dsigma: -alpha * dalpha / sigma };
      };
    },
    cosine: () => function (t) {
      const turn = Math.PI / 2, alpha = Math.cos(turn * t), sigma = Math.sin(turn * t);
      return { alpha, sigma, dalpha: -turn * sigma, dsigma: turn * alpha };
    },
    flow: () => (t) => ({ alpha: 1 - t, sigma: t, dalpha: -1, dsigma: 1 }),
    // Variance-exploding: the data stay as they are, and the noise grows.
    geometric: exploding,
    karras: exploding,
  };

  function exploding(settings) {
    return (t) => ({ alpha: 1, sigma: settings.sigma_max * t, dalpha: 0, dsigma: settings.sigma_max });
  }

  const CLEAN = { t: 0, alpha: 1, sigma: 0, dalpha: 0, dsigma: 0 };
  const logSnr = (level) => 2 * (Math.log(level.alpha) - Math.log(level.sigma));

  // settings: {name, t_min, t_max, spacing, sigma_max}, as the file of a network has them.
  function schedule(settings) {
    const path = PATHS[settings.name](settings), { t_min: tMin, t_max: tMax } = settings;
    const at = (t) => (t === 0 ? CLEAN : Object.assign({ t }, path(t)));
    const start = logSnr(at(tMax)), end = logSnr(at(tMin)), range = [Math.max(start, -30), end];

    // The time at which log(alpha^2 / sigma^2) has this value, by bisection.
    function timeAt(wanted) {
      if (wanted <= start + 1e-12 * Math.abs(start)) { return tMax; }
      if (wanted >= end - 1e-12 * Math.abs(end)) { return tMin; }
      let low = tMin, high = tMax;
      for (let i = 0; i < 60; i++) {
        const middle = (low + high) / 2;
        if (logSnr(at(middle)) > wanted) { low = middle; } else { high = middle; }
      }
      return (low + high) / 2;
    }

    const spacings = {
      uniform(n) {
        const last = Math.max(tMin, tMax / n);
        return evenly(tMax, last, n);
      },
      log_snr: (n) => evenly(range[0], range[1], n).map(timeAt),
      karras(n) {
        const rho = 7, [noisiest, cleanest] = range.map((value) => Math.exp(-value / 2 / rho));
        return evenly(noisiest, cleanest, n).map((root) => timeAt(-2 * rho * Math.log(root)));
      },
    };

    // The steps + 1 times of a sampler, from tMax to the clean end 0.
    const times = (steps, spacing) => [...spacings[spacing || settings.spacing](steps), 0];
    return { at, times, timeAt, range, tMin, tMax };
  }

  function evenly(from, to, n) {
    return Array.from({ length: n }, (_, i) => (n === 1 ? from : from + (to - from) * i / (n - 1)));
  }

  // A target is a row y = c x0 + d eps, and what the network is given: x times a scale, and a time.
  const plain = (level) => ({ scale: 1, time: level.t });
  function unitVariance(level) {
    // c_in and c_noise of EDM, for data of variance 1.
    const time = Math.log(level.sigma / level.alpha) / 4;
    return { scale: 1 / Math.hypot(level.alpha, level.sigma), time: Math.min(Math.max(time, -4), 4) };
  }
  const TARGETS = {
    eps: { row: () => [0, 1], input: plain },
    v: { row: (level) => [-level.sigma, level.alpha], input: plain },
    flow: { row: (level) => [level.dalpha, level.dsigma], input: plain },
    score: { row: () => [0, -1], input: unitVariance },
    edm: {
      row(level) {
        const std = Math.hypot(level.alpha, level.sigma);
        return [level.sigma / std, -level.alpha / std];
      },
      input: unitVariance,
    },
  };

  // The x0 and eps that agree with the network's output y and with x.
  function solve(target, y, x, level) {
    const [c, d] = target.row(level), { alpha, sigma } = level;
    const determinant = alpha * d - sigma * c;
    return {
      x0: x.map((value, i) => (d * value - sigma * y[i]) / determinant),
      eps: x.map((value, i) => (alpha * y[i] - c * value) / determinant),
    };
  }

  // The denoiser that a network stands for: (x, level) -> {x0, eps}, all samples at one level.
  function denoiser(network, label) {
    const target = TARGETS[network.record.target];
    return function (x, level) {
      const { scale, time } = target.input(level);
      const y = network.evaluate(scale === 1 ? x : x.map((value) => scale * value), time, label);
      return solve(target, y, x, level);
    };
  }

  // Classifier-free guidance: without + scale (with - without).
  function guided(conditional, unconditional, scale) {
    return function (x, level) {
      const told = conditional(x, level), untold = unconditional(x, level);
      const mixed = (name) => untold[name].map((value, i) => value + scale * (told[name][i] - value));
      return { x0: mixed("x0"), eps: mixed("eps") };
    };
  }

  // Keep x0 between -1 and 1, black and white, and let eps agree with it.
  function clipped(denoise) {
    return function (x, level) {
      const x0 = denoise(x, level).x0.map((value) => Math.min(Math.max(value, -1), 1));
      return { x0, eps: x.map((value, i) => (value - level.alpha * x0[i]) / level.sigma) };
    };
  }

  Object.assign(lab, { clipped, denoiser, guided, logSnr, schedule });
})(window.lab = window.lab || {});
