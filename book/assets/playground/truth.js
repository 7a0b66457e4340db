// What is exactly true of the points: their density at every noise level, draws from it, and how far samples are off.
// A record's truth is a mixture of normals, [{weight, mean, axes, variances}], each axis a list of numbers.
(function (lab) {
  "use strict";

  // The density at a level: the same mixture with means alpha mean and variances alpha^2 variance + sigma^2.
  function density(parts, level) {
    const ready = parts.map(function ({ weight, mean, axes, variances }) {
      const widened = variances.map((variance) => level.alpha ** 2 * variance + level.sigma ** 2);
      const scale = widened.reduce((product, variance) => product / Math.sqrt(2 * Math.PI * variance), weight);
      return { axes, scale, centre: mean.map((value) => level.alpha * value), widened };
    });
    return function (point) {
      let sum = 0;
      for (const { axes, scale, centre, widened } of ready) {
        let square = 0;
        for (let k = 0; k < axes.length; k++) {
          let along = 0;
          for (let i = 0; i < centre.length; i++) { along += axes[k][i] * (point[i] - centre[i]); }
          square += along * along / widened[k];
        }
        if (square < 80) { sum += scale * Math.exp(-square / 2); }
      }
      return sum;
    };
  }

  // The exact denoiser: a point x at a level -> E[x0 | x], the parts' answers averaged by how likely each part is.
  function posterior(parts, level) {
    const ready = parts.map(function (part) {
      const widened = part.variances.map((variance) => level.alpha ** 2 * variance + level.sigma ** 2);
      const scale = widened.reduce((sum, variance) => sum - Math.log(variance) / 2, Math.log(part.weight));
      return { ...part, widened, scale };
    });
    return function (x) {
      const answers = ready.map(function ({ mean, axes, variances, widened, scale }) {
        const x0 = Float64Array.from(mean);
        let likely = scale;
        axes.forEach(function (axis, k) {
          const along = axis.reduce((sum, value, i) => sum + value * (x[i] - level.alpha * mean[i]), 0);
          const back = level.alpha * variances[k] / widened[k] * along;
          likely -= along ** 2 / widened[k] / 2;
          axis.forEach((value, i) => { x0[i] += value * back; });
        });
        return { x0, likely };
      });
      const most = answers.reduce((largest, { likely }) => Math.max(largest, likely), -Infinity);
      const mean = new Float64Array(x.length);
      let total = 0;
      for (const { x0, likely } of answers) {
        const share = Math.exp(likely - most);
        total += share;
        x0.forEach((value, i) => { mean[i] += share * value; });
      }
      return mean.map((value) => value / total);
    };
  }

  // The mixture of two of its coordinates, for a picture. The axes of a 2 x 2 covariance are known in closed form.
  function marginal(parts, i, j) {
    return parts.map(function ({ weight, mean, axes, variances }) {
      const cov = (p, q) => variances.reduce((sum, variance, k) => sum + variance * axes[k][p] * axes[k][q], 0);
      const a = cov(i, i), b = cov(i, j), c = cov(j, j), angle = Math.atan2(2 * b, a - c) / 2;
      const middle = (a + c) / 2, half = Math.hypot((a - c) / 2, b);
      return {
        weight, mean: [mean[i], mean[j]], variances: [middle + half, middle - half],
        axes: [[Math.cos(angle), Math.sin(angle)], [-Math.sin(angle), Math.cos(angle)]],
      };
    });
  }

  // count exact points, one after the other.
  function draw(parts, count, random) {
    const dim = parts[0].mean.length, out = new Float64Array(count * dim);
    for (let n = 0; n < count; n++) {
      let left = random.uniform(), chosen = 0;
      while (chosen < parts.length - 1 && (left -= parts[chosen].weight) > 0) { chosen += 1; }
      const { mean, axes, variances } = parts[chosen], normals = random.normals(dim);
      for (let i = 0; i < dim; i++) {
        let value = mean[i];
        for (let k = 0; k < dim; k++) { value += axes[k][i] * Math.sqrt(variances[k]) * normals[k]; }
        out[n * dim + i] = value;
      }
    }
    return out;
  }

  // The sliced Wasserstein distance of two equally large samples, over directions of length 1.
  function sliced(a, b, dim, directions) {
    let total = 0;
    for (const direction of directions) {
      const [p, q] = [a, b].map((points) => project(points, dim, direction).sort());
      total += p.reduce((sum, value, i) => sum + (value - q[i]) ** 2, 0) / p.length;
    }
    return Math.sqrt(total / directions.length);
  }

  function project(points, dim, direction) {
    const out = new Float64Array(points.length / dim);
    for (let n = 0; n < out.length; n++) {
      for (let i = 0; i < dim; i++) { out[n] += direction[i] * points[n * dim + i]; }
    }
    return out;
  }

  function directions(count, dim, random) {
    return Array.from({ length: count }, function () {
      const vector = random.normals(dim), length = Math.hypot(...vector);
      return vector.map((value) => value / length);
    });
  }

  // Mean and standard deviation of a list.
  function moments(values) {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return [mean, Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length)];
  }

  Object.assign(lab, { density, directions, draw, marginal, moments, posterior, project, sliced });
})(window.lab = window.lab || {});
