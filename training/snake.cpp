// Anti-aliased SnakeBeta, forward and backward, one row at a time, so that training fits on a CPU.
//
// The formulas are those of indextts/blocks/alias_free.py: a signal is upsampled into two phases,
//   even[n] = sum_j 2 h[2j] x[n-3+j],  odd[n] = sum_j 2 h[2j+1] x[n-2+j],   j = 0..5,
// each goes through y + g sin(a y)^2, and
//   z[n] = sum_j h[2j+1] even[n-2+j] + h[2j] odd[n-3+j],
// all with replicated edges. Rows have n samples; g is the inverse gain, a the frequency.
#include <cmath>
#include <cstring>
#include <vector>

namespace {

constexpr int kPad = 8;  // more than any filter reaches, on each side of a padded row
constexpr int kTaps = 6;

struct Filter {
  float even_up[kTaps], odd_up[kTaps], even_down[kTaps], odd_down[kTaps];
  explicit Filter(const float* h) {
    for (int j = 0; j < kTaps; ++j) {
      even_up[j] = 2 * h[2 * j];
      odd_up[j] = 2 * h[2 * j + 1];
      even_down[j] = h[2 * j + 1];
      odd_down[j] = h[2 * j];
    }
  }
};

// out[i] = sum_j taps[j] in[i + j]
void correlate(const float* __restrict in, const float* taps, int n, float* __restrict out) {
  const float a = taps[0], b = taps[1], c = taps[2], d = taps[3], e = taps[4], f = taps[5];
  for (int i = 0; i < n; ++i)
    out[i] = a * in[i] + b * in[i + 1] + c * in[i + 2] + d * in[i + 3] + e * in[i + 4] +
             f * in[i + 5];
}

// Adjoint of correlate on the first m outputs: out[i] = sum_j taps[j] in[i - j], in zero outside.
void convolve(const float* __restrict in, const float* taps, int m, float* __restrict out) {
  const float reversed[kTaps] = {taps[5], taps[4], taps[3], taps[2], taps[1], taps[0]};
  correlate(in - (kTaps - 1), reversed, m, out);
}

void replicate(float* row, int n, float left, float right) {
  for (int i = 1; i <= kPad; ++i) {
    row[-i] = left;
    row[n - 1 + i] = right;
  }
}

// Adds to the edges of grad [0, n) what flowed into the replicated samples around it.
void fold(const float* padded, int n, int before, int after, float* left, float* right) {
  for (int i = 0; i < before; ++i) *left += padded[i];
  for (int i = 0; i < after; ++i) *right += padded[before + n + i];
}

struct Rows {
  int n, stride;
  std::vector<float> store;
  Rows(int n, int count) : n(n), stride(n + 4 * kPad), store(static_cast<size_t>(count) * (n + 4 * kPad)) {}
  float* row(int index) { return store.data() + static_cast<size_t>(index) * stride + 2 * kPad; }
};

void upsample(const float* x, int n, const Filter& filter, float* padded, float* even, float* odd) {
  std::memcpy(padded, x, n * sizeof(float));
  replicate(padded, n, x[0], x[n - 1]);
  correlate(padded - 3, filter.even_up, n, even);
  correlate(padded - 2, filter.odd_up, n, odd);
}

void snake(float* y, int n, float a, float g) {
  const float half = 0.5f * g, twice = 2 * a;
  for (int i = 0; i < n; ++i) y[i] += half - half * cosf(twice * y[i]);
}

// grad *= d snake / dy; adds the derivatives by a and by g. Two loops, because sine and cosine of one
// argument become a call that cannot be vectorised.
void snake_backward(const float* y, float* grad, int n, float a, float g, float* by_a, float* by_g) {
  const float twice = 2 * a, slope = g * a;
  float sum_a = 0, sum_g = 0;
  for (int i = 0; i < n; ++i) sum_g += grad[i] * (0.5f - 0.5f * cosf(twice * y[i]));
  for (int i = 0; i < n; ++i) {
    const float s = sinf(twice * y[i]);
    sum_a += grad[i] * y[i] * s;
    grad[i] *= 1 + slope * s;
  }
  *by_a += sum_a * g;
  *by_g += sum_g;
}

}  // namespace

extern "C" {

// x, z: rows x n; a, g: channels; taps: 12.
void snake_forward(const float* x, const float* a, const float* g, const float* taps, int rows,
                   int channels, int n, float* z) {
  const Filter filter(taps);
  Rows work(n, 4);
  float *padded = work.row(0), *even = work.row(1), *odd = work.row(2), *low = work.row(3);
  for (int r = 0; r < rows; ++r) {
    const int c = r % channels;
    upsample(x + static_cast<size_t>(r) * n, n, filter, padded, even, odd);
    snake(even, n, a[c], g[c]);
    snake(odd, n, a[c], g[c]);
    const float first = even[0], last = odd[n - 1];
    replicate(even, n, first, last);
    replicate(odd, n, first, last);
    float* out = z + static_cast<size_t>(r) * n;
    correlate(even - 2, filter.even_down, n, out);
    correlate(odd - 3, filter.odd_down, n, low);
    for (int i = 0; i < n; ++i) out[i] += low[i];
  }
}

// grad_z: rows x n -> grad_x: rows x n, grad_a and grad_g: rows (to be summed over the batch).
void snake_gradient(const float* x, const float* grad_z, const float* a, const float* g,
                    const float* taps, int rows, int channels, int n, float* grad_x, float* grad_a,
                    float* grad_g) {
  const Filter filter(taps);
  Rows work(n, 6);
  float *padded = work.row(0), *even = work.row(1), *odd = work.row(2), *grad = work.row(3);
  float *wide = work.row(4), *wide2 = work.row(5);
  std::vector<float> zero(kPad, 0.0f);
  for (int r = 0; r < rows; ++r) {
    const int c = r % channels;
    upsample(x + static_cast<size_t>(r) * n, n, filter, padded, even, odd);
    std::memcpy(grad, grad_z + static_cast<size_t>(r) * n, n * sizeof(float));
    replicate(grad, n, 0, 0);
    // Phases padded to [-2, n+3) and [-3, n+2) entered the downsampling.
    convolve(grad, filter.even_down, n + 5, wide);
    convolve(grad, filter.odd_down, n + 5, wide2);
    float first = 0, last = 0;
    fold(wide, n, 2, 3, &first, &last);
    fold(wide2, n, 3, 2, &first, &last);
    float *grad_even = wide + 2, *grad_odd = wide2 + 3;
    grad_even[0] += first;
    grad_odd[n - 1] += last;
    float by_a = 0, by_g = 0;
    snake_backward(even, grad_even, n, a[c], g[c], &by_a, &by_g);
    snake_backward(odd, grad_odd, n, a[c], g[c], &by_a, &by_g);
    grad_a[r] = by_a;
    grad_g[r] = by_g;
    // x padded to [-3, n+2) and [-2, n+3) entered the upsampling.
    replicate(grad_even, n, 0, 0);
    replicate(grad_odd, n, 0, 0);
    convolve(grad_even, filter.even_up, n + 5, padded);
    convolve(grad_odd, filter.odd_up, n + 5, even);
    float* out = grad_x + static_cast<size_t>(r) * n;
    for (int i = 0; i < n; ++i) out[i] = padded[i + 3] + even[i + 2];
    fold(padded, n, 3, 2, out, out + n - 1);
    fold(even, n, 2, 3, out, out + n - 1);
  }
}
}
